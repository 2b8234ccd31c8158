"""The doctor looks at everything, says what is wrong in a line each, and writes nothing."""

import json
import re
from types import SimpleNamespace

import psutil
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.doctor import examine
from flows.settings import load_settings
from tests.tasks.engines import tiny_sam2
from tests.tasks.engines.served import tiny_vlm


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


def test_of_models_in_this_process_it_says_size_memory_and_time(tmp_path):
    """Tiny ones of the real classes, from folders as a user's may be."""
    tiny_vlm.save_tiny(tmp_path / "vlm")
    model = {"name": "transformers", "options": {"checkpoint": str(tmp_path / "vlm"), "max_tokens": 64}}
    tracker = {"name": "sam2", "options": tiny_sam2.save_tiny(tmp_path / "sam2", "transformers", 1)}
    found = findings(
        f"engines.language={json.dumps(model)}",
        f"engines.verifier={json.dumps(model)}",
        f"engines.tracker={json.dumps(tracker)}",
        "run.stage_by_stage=true",
        "ingest={height: 64, width: 96}",
    )
    assert [f.detail for f in found.values() if not f.ok] == []
    assert list(found)[2:4] == ["download", "memory"] and list(found)[-1] == "a clip"
    assert found["download"].detail == "nothing"
    assert found["memory"].detail.startswith("at most 1.7 GB by plan, one stage at a time: caption ")
    assert re.fullmatch(r"about \d+ s by a trial .*: language \d+, verifier \d+, tracker \d+", found["a clip"].detail)


def test_a_plan_beyond_the_machines_memory_is_told(tmp_path, monkeypatch):
    tracker = {"name": "sam2", "options": tiny_sam2.save_tiny(tmp_path / "sam2", "transformers", 1)}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1e9))
    found = findings(f"engines.tracker={json.dumps(tracker)}")
    assert not found["memory"].ok and "this machine has 1.0 GB" in found["memory"].detail


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
