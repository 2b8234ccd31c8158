"""Profiles, `--set` and the command line become one, and what is wrong is named."""

import importlib

import pytest
import yaml

from flows.settings import PROFILES, BuildSettings, load_settings
from schemas.settings import validate
from tasks.engines.registry import ENGINES
from tasks.errors import UserError


def test_the_local_profile_is_the_defaults_with_every_key_written_out():
    settings = load_settings("local", [], source="raw", out="out")
    assert settings == BuildSettings(source="raw", out="out")
    written = yaml.safe_load((PROFILES / "local.yaml").read_text())
    assert set(written) | {"source", "out", "captions"} == set(BuildSettings.model_fields)
    for name, section in written.items():
        assert set(section) == set(type(getattr(settings, name)).model_fields), name


def test_the_gpu_profile_names_real_engines_and_settings_that_they_have():
    engines = load_settings("gpu", [], source="raw", out="out").engines
    for kind in type(engines).model_fields:
        spec = getattr(engines, kind)
        module, _, name = ENGINES[kind][spec.name].options.partition(":")
        options = validate(getattr(importlib.import_module(module), name), dict(spec.options))
        assert getattr(options, "box_threshold", 0.35) == 0.35  # the authors', as is the next
        assert getattr(options, "text_threshold", 0.25) == 0.25
    assert {getattr(engines, kind).name for kind in type(engines).model_fields} == {"openai", "grounding_dino", "sam2"}


def test_set_goes_over_the_profile_and_the_command_line_over_both(tmp_path):
    profile = tmp_path / "mine.yaml"
    profile.write_text("source: from-profile\npropose: {frames: 5, boxes: 2}\n")
    settings = load_settings(str(profile), ["propose.boxes=7", "run.workers=3"], source="given", out="out")
    assert (settings.source, settings.propose.frames, settings.propose.boxes) == ("given", 5, 7)
    assert settings.run.workers == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("propose.sampels=3", "propose.sampels: unknown setting"),
        ("run.workers=0", "run.workers"),
        ("run.chunk=4097", "less than or equal to 4096"),
        ("run.workers", "section.name=value"),
        ("run..workers=1", "section.name=value"),
        ("source.x=1", "source"),
        pytest.param("run.workers=" + "[" * 5000, "not valid YAML", id="deep"),
    ],
)
def test_a_bad_override_is_named(override, words):
    with pytest.raises(UserError) as error:
        load_settings("local", [override], source="raw", out="out")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_profile_that_is_no_mapping(tmp_path):
    profile = tmp_path / "list.yaml"
    profile.write_text("- a\n")
    with pytest.raises(UserError, match="mapping"):
        load_settings(str(profile), [], source="raw", out="out")


def test_a_profile_nested_without_end(tmp_path):
    profile = tmp_path / "deep.yaml"
    profile.write_text("{" * 5000)
    with pytest.raises(UserError, match="nested too deeply"):
        load_settings(str(profile), [], source="raw", out="out")


@pytest.mark.parametrize("empty", ["source", "captions", "out"])
def test_an_empty_word_does_not_mean_the_folder_one_is_in(empty):
    given = {"source": "raw", "captions": "captions.csv", "out": "out"} | {empty: ""}
    with pytest.raises(UserError, match=f"{empty}: .* at least 1 character"):
        load_settings("local", [], **given)
