"""A profile's engine: the right class, checked options, one error line; made once per process and build."""

import importlib
from typing import ClassVar

import pytest
from pydantic import Field

from tasks.engines import registry
from tasks.engines.options import EngineOptions
from tasks.engines.registry import ENGINES, EngineEntry, EngineSpec, declared_identity, load_engine
from tasks.errors import UserError
from tasks.store.folder import Folder


class Options(EngineOptions):
    engine: ClassVar[str] = "configured/1"
    not_in_rows: ClassVar[frozenset[str]] = frozenset({"batch"})
    threshold: float = Field(default=0.35, ge=0, le=1)
    batch: int = 8


class Configured:
    """An engine with options, as those of real models are."""

    def __init__(self, options: Options, home: Folder) -> None:
        self.options, self.home = options, home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    for name, engine in (("configured", f"{__name__}:Configured"), ("absent", "a_package_nobody_has.engine:Engine")):
        monkeypatch.setitem(ENGINES["detector"], name, EngineEntry(f"{__name__}:Options", engine))
    return Folder(str(tmp_path))


def test_an_engine_gets_its_options_checked_and_its_folder(home):
    engine = load_engine("detector", EngineSpec(name="configured", options={"threshold": 0.5}), home)
    assert (engine.options.threshold, engine.home.root) == (0.5, home.root)


def test_it_is_made_once_for_the_same_options_and_folder(home):
    spec = EngineSpec(name="configured")
    assert load_engine("detector", spec, home) is load_engine("detector", EngineSpec(name="configured"), home)
    assert load_engine("detector", spec, home) is not load_engine("detector", spec, home.below("other"))


WRONG = [
    ("configured", {"treshold": 0.5}, ("engines.detector.options", "treshold", "unknown setting")),
    ("configured", {"threshold": 7}, ("engines.detector.options", "threshold", "less than or equal to 1")),
    ("embedded", {"threshold": 0.5}, ("engines.detector.options", "threshold", "unknown setting")),
    ("sam3", {}, ("'sam3'", "embedded", "grounding_dino")),
]


def told(act) -> str:
    """The one line of the UserError."""
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "options", "words"), WRONG)
def test_a_wrong_one_is_one_line_that_says_what_whether_it_is_made_or_only_named(home, name, options, words):
    spec = EngineSpec(name=name, options=options)
    for line in (
        told(lambda: load_engine("detector", spec, home)),
        told(lambda: declared_identity("detector", spec)),
    ):
        for word in words:
            assert word in line


def test_one_whose_package_is_not_there_can_be_named_and_not_made(home):
    spec = EngineSpec(name="absent", options={"threshold": 0.5, "batch": 1})
    assert declared_identity("detector", spec) == "configured/1 threshold=0.5"
    line = told(lambda: load_engine("detector", spec, home))
    assert "a_package_nobody_has" in line and "extra `models`" in line


def named(target: str):
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def test_every_entry_has_a_class_and_the_options_that_it_takes():
    for kind, names in ENGINES.items():
        for name, entry in names.items():
            made, options = named(entry.engine), named(entry.options)
            assert isinstance(made, type) and made.Options is options, (kind, name)
            assert issubclass(options, EngineOptions), (kind, name)


def test_the_embedded_engines_are_made_as_all_others_are_and_are_what_they_declare(home):
    for kind, names in ENGINES.items():
        if "embedded" in names:
            engine = load_engine(kind, EngineSpec(), home)
            assert engine.identity == declared_identity(kind, EngineSpec()) == f"embedded-{kind}/{engine.identity[-1]}"
