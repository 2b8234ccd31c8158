"""The doctor looks at everything, says what is wrong in a line each, and writes nothing."""

import json

from typer.testing import CliRunner

from flows.cli import app
from flows.cli.doctor import examine
from flows.settings import load_settings


def findings(*sets: str):
    return {f.what: f for f in examine(load_settings("local", list(sets), source="none", out="none"))}


def test_the_embedded_engines_need_nothing():
    found = findings()
    assert list(found) == ["python", "gpu", "language", "captioner", "verifier", "detector", "tracker"]
    assert all(f.ok for f in found.values())
    assert found["tracker"].detail.startswith("embedded-tracker/")
    assert "pyarrow" in found["python"].detail


def test_one_bad_engine_does_not_hide_the_others():
    found = findings("engines.detector.name=grounding_dyno", "engines.tracker.options={size: 3}")
    assert {what for what, f in found.items() if not f.ok} == {"detector", "tracker"}
    assert "grounding_dyno" in found["detector"].detail and "unknown setting" in found["tracker"].detail
    assert all("\n" not in f.detail for f in found.values())


def test_the_command_ends_with_4_where_something_is_bad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["doctor"]).exit_code == 0
    bad = runner.invoke(app, ["doctor", "--set", "engines.detector.name=grounding_dyno", "--json"])
    assert bad.exit_code == 4
    told = json.loads(bad.stdout.splitlines()[-1])
    assert told["ok"] is False
    assert [f["what"] for f in told["findings"] if not f["ok"]] == ["detector"]
    plain = runner.invoke(app, ["doctor", "--set", "engines.detector.name=grounding_dyno"])
    assert [line for line in plain.stdout.splitlines() if line.startswith("BAD  detector")]
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_breaks_in_its_own_way_is_told_too(monkeypatch):
    def breaks(*_):
        raise RuntimeError("bad weights\nin two lines")

    monkeypatch.setattr("flows.cli.doctor.load_engine", breaks)
    found = findings()["detector"]
    assert not found.ok and found.detail.startswith("RuntimeError: bad weights") and "\n" not in found.detail
