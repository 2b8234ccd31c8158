"""No password, key or token reaches build.json, Prefect's parameters or a message."""

import json
import traceback

import pytest

from flows.build import build
from flows.opened import open_build
from flows.settings import load_settings
from tasks.errors import UserError
from tests.schemas.test_credentials import LEAKING, OPTIONS, SECRET


@pytest.mark.parametrize("address", LEAKING)
@pytest.mark.parametrize("name", ["source", "out", "captions"])
def test_addresses_with_credentials_go_on_no_record_and_into_no_message(tmp_path, address, name):
    given = {"source": str(tmp_path), "out": str(tmp_path / "out"), "captions": None} | {name: address}
    with pytest.raises(UserError, match="environment") as error:
        load_settings("local", [], **given)
    told = "".join(traceback.format_exception(error.value))
    assert SECRET not in told and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", OPTIONS)
def test_options_that_are_secrets_are_refused_wherever_they_are_given(tmp_path, options):
    written = json.dumps(options)
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"scan: {{storage_options: {written}}}\n")
    (name, value), = options.items()  # fmt: skip
    one = [f"scan.storage_options.{name}={json.dumps(value)}"]
    for used, sets in (("local", [f"scan.storage_options={written}"]), ("local", one), (str(profile), [])):
        with pytest.raises(UserError, match="environment") as error:
            load_settings(used, sets, source="raw", out="out")
        assert SECRET not in "".join(traceback.format_exception(error.value)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", [f"scan.storage_options={{secret: {SECRET}", f"source=s3://me:{SECRET}@b", f"scan:{SECRET}"]
)
def test_an_override_that_is_no_setting_is_named_without_its_value(text):
    with pytest.raises(UserError) as error:
        load_settings("local", [text], source="raw", out="out")
    assert SECRET not in str(error.value) and text[:4] in str(error.value)


def test_prefect_is_told_no_more(tmp_path):
    for wrong in ({"source": LEAKING[0]}, {"scan": {"storage_options": {"key": SECRET}}}, {"select": {SECRET: 1}}):
        given = {"source": "raw", "out": str(tmp_path / "out")} | wrong
        with pytest.raises(Exception) as error:
            build.validate_parameters({"settings": given})
        if "select" not in wrong:
            assert SECRET not in "".join(traceback.format_exception(error.value))
    with pytest.raises(Exception) as error:
        build.validate_parameters({"settings": {"source": "raw", "out": "out", "scan": {"storage_options": [SECRET]}}})
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_what_stands_on_record_is_what_was_checked(tmp_path):
    opened = open_build(load_settings("local", [], source="abfs://box@account/raw", out=str(tmp_path / "out")))
    assert json.loads(opened.folder.read("build.json"))["settings"]["source"] == "abfs://box@account/raw"
