"""A profile's engine: the right class, checked options, one error line; made once per process and build."""

import pytest
from pydantic import Field

from schemas.settings import Settings
from tasks.engines import registry
from tasks.engines.registry import ENGINES, EngineSpec, load_engine
from tasks.errors import UserError
from tasks.store.folder import Folder


class Configured:
    """An engine with options, as those of real models are."""

    class Options(Settings):
        threshold: float = Field(default=0.35, ge=0, le=1)

    def __init__(self, options: Options, home: Folder) -> None:
        self.options, self.home = options, home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setitem(ENGINES["detector"], "configured", f"{__name__}:Configured")
    monkeypatch.setitem(ENGINES["detector"], "absent", "a_package_nobody_has.engine:Engine")
    return Folder(str(tmp_path))


def test_an_engine_gets_its_options_checked_and_its_folder(home):
    engine = load_engine("detector", EngineSpec(name="configured", options={"threshold": 0.5}), home)
    assert (engine.options.threshold, engine.home.root) == (0.5, home.root)


def test_it_is_made_once_for_the_same_options_and_folder(home):
    spec = EngineSpec(name="configured")
    assert load_engine("detector", spec, home) is load_engine("detector", EngineSpec(name="configured"), home)
    assert load_engine("detector", spec, home) is not load_engine("detector", spec, home.below("other"))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("configured", {"treshold": 0.5}, ("engines.detector.options", "treshold", "unknown setting")),
        ("configured", {"threshold": 7}, ("engines.detector.options", "threshold", "less than or equal to 1")),
        ("embedded", {"threshold": 0.5}, ("engines.detector.options", "takes none")),
        ("absent", {}, ("a_package_nobody_has", "extra `models`")),
        ("sam3", {}, ("'sam3'", "embedded", "grounding_dino")),
    ],
)
def test_a_wrong_one_is_one_line_that_says_what(home, name, options, words):
    with pytest.raises(UserError) as caught:
        load_engine("detector", EngineSpec(name=name, options=options), home)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_every_name_in_the_registry_is_a_class(home):
    import importlib

    for kind, names in ENGINES.items():
        for name, target in names.items():
            if name == "absent":
                continue
            module, _, attribute = target.partition(":")
            assert isinstance(getattr(importlib.import_module(module), attribute), type), (kind, name)
