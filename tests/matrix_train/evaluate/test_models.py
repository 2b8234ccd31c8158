"""`evaluate` over a folder of videos a model: one result each, all against the first; and VBench's results beside."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from matrix_train.cli.evaluate import Request, evaluate_command
from matrix_train.errors import UserError
from matrix_train.evaluate.exchange.vbench import read_results
from tests.matrix_train.evaluate.on_disk import NAMES, run, write_prompts


@pytest.fixture
def models(place: Path) -> Path:
    """Two models of the same two videos; one of the second has no track, another no video at all."""
    for model in ("base", "lora"):
        shutil.copytree(place / "v", place / "models" / model)
        (place / model).mkdir()
        for name in NAMES:
            shutil.copy(place / "t.tracks.json", place / model / f"{name}.tracks.json")
    shutil.rmtree(place / "v")
    (place / "models").rename(place / "v")
    (place / "v" / "lora" / "b.mp4").write_bytes(b"no video")
    lines = (json.loads(line) for line in (place / "p.jsonl").read_text().splitlines())
    own = [json.dumps(line | {"tracks": f"{{model}}/{line['video']}.tracks.json"}) for line in lines]
    (place / "p.jsonl").write_text("\n".join(own))
    return place


def vbench(path: Path, **by_video: Any) -> Path:
    """As VBench writes them, at some other machine."""
    rows = [
        {"video_path": f"/elsewhere/{name}.mp4", "video_results": value, "cnt": 3} for name, value in by_video.items()
    ]
    path.write_text(json.dumps({"imaging_quality": [0.65, rows], "dynamic_degree": [1.0, rows[:1]]}))
    return path


def test_models_are_judged_apart_and_held_against_the_first(models: Path):
    for model in ("base", "lora"):
        vbench(models / f"{model}_eval_results.json", a=60.0, b=70.0)
    found = run(models, "tracks", vbench=models / "{model}_eval_results.json")
    assert [(one["name"], one["videos"], one["failed"]) for one in found["models"]] == [("base", 2, 0), ("lora", 1, 1)]
    assert list(found["failed"]) == ["lora/b.mp4"]
    (difference,) = found["differences"]
    assert (difference["paired"], difference["unpaired"], difference["if_score"]["mean"]) == (1, 1, 0)
    quality = found["models"][0]["vbench"]["imaging_quality"]
    assert (quality["mean"], quality["said"], quality["videos"]) == (65, 0.65, 2)
    page = (models / "e" / "report.html").read_text()
    first = found["agreement"]["true"]["lines"][0]
    assert first.startswith("this judge against the truth") and first in page
    assert 'href="lora/report.html"' in page and "VBench imaging quality" in page
    prompts = json.loads((models / "e" / "base" / "vbench_prompts.json").read_text())
    assert prompts == dict.fromkeys(NAMES, "A man pushes a box.")


def test_judging_needs_no_torch():
    """Which alone would take half a GiB, and seconds of every run."""
    told = "import sys, matrix_train.evaluate.profile; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", told], text=True) == "set()\n"


def test_a_file_beside_models_is_named(models: Path):
    (models / "v" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"no video a\.mp4, .* not looked at \(base, lora beside notes\.txt\): where"):
        run(models, "tracks")
    (models / "v" / "notes.txt").unlink()
    (models / "v" / "base" / "a.mp4").unlink()
    with pytest.raises(UserError, match=r"base: no video a\.mp4, which the prompts name: .* take their lines out$"):
        run(models, "tracks")


def test_results_among_the_models_would_be_one_of_them(models: Path):
    asked = Request(models / "v" / "e", "tracks", None, models / "p.jsonl")
    with pytest.raises(UserError, match="would be one of the models"):
        evaluate_command([models / "v"], asked, Console(quiet=True))
    assert not (models / "v" / "e").exists()


def test_a_model_of_which_nothing_can_be_judged_is_left_out(models: Path):
    (models / "v" / "lora" / "a.mp4").write_bytes(b"")
    found = run(models, "tracks")
    assert [one["name"] for one in found["models"]] == ["base"] and found["differences"] == []
    assert found["failed"]["lora"].startswith("none of 2 videos could be judged")
    (models / "v" / "lora" / "a.mp4").unlink()
    with pytest.raises(UserError, match=r"lora: no video a\.mp4"):
        run(models, "tracks")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"imaging_quality": [0.6, []]}, "imaging_quality has no video"),
        ({"imaging_quality": [0.6, [{"video_path": "c.mp4", "video_results": 1}]]}, r"is of c\.mp4, which is none"),
        ({"imaging_quality": [0.6, [{"video_path": "x/a.mp4", "video_results": 1}] * 2]}, r"has a\.mp4 twice"),
        ({"imaging_quality": 0.6}, "not what VBench writes"),
        ({"imaging_quality": ["nan", []]}, "not what VBench writes"),
        ({}, "holds no dimension"),
    ],
)
def test_results_that_are_not_vbenchs_are_refused(tmp_path: Path, written: Any, told: str):
    (tmp_path / "r.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=told):
        read_results(tmp_path / "r.json", NAMES)


def test_true_and_false_are_numbers(tmp_path: Path):
    found = read_results(vbench(tmp_path / "r.json", a=True, b=False), NAMES)
    assert found["imaging_quality"]["by_video"] == {"a.mp4": 1.0, "b.mp4": 0.0}


def compare(*runs: Path, out: Path) -> dict[str, Any]:
    return evaluate_command(runs, Request(out, compare=True), Console(quiet=True))


def test_runs_of_tracks_given_and_made_are_told_with_both_agreements(place: Path):
    run(place, "tracks")
    (place / "e").rename(place / "given")
    write_prompts(place / "p.jsonl", idmap="t.png")
    run(place, "tracks")
    found = compare(place / "given", place / "e", out=place / "c")
    assert len(found["agreement"]) == 2 and found["differences"][0]["paired"] == 2
    scores = json.loads((place / "e" / "scores.json").read_text())
    (place / "e" / "scores.json").write_text(json.dumps(scores | {"agreement": {"judge": "tracks 2", "lines": []}}))
    with pytest.raises(UserError, match="of another version"):
        compare(place / "given", place / "e", out=place / "c")


def renamed(place: Path, out: str, **names: str) -> Path:
    """The result as if videos had these names and, where it is written behind a bar, were asked that."""
    shutil.copytree(place / "e", place / out)
    scores = json.loads((place / out / "scores.json").read_text())
    for part in ("prompts", "by_video"):
        scores[part] = {
            name.split("|")[0]: (scores[part][f"{key}.mp4"] if part == "by_video" else name.split("|")[1])
            for key, name in names.items()
        }
    (place / out / "scores.json").write_text(json.dumps(scores))
    return place / out


def test_the_same_prompt_pairs_under_another_name(place: Path):
    run(place, "tracks")
    e = renamed(place, "e1", a="a.mp4|1", b="b.mp4|2")
    cases = {
        "ending": ({"a": "a.webm|1", "b": "b.mp4|2"}, (2, 1, 0, 0)),
        "named": ({"a": "x.mp4|1", "b": "y.mp4|2"}, (2, 2, 0, 0)),
        "turned": ({"a": "b.mp4|1", "b": "a.mp4|2"}, (2, 2, 0, 0)),
        "some": ({"a": "a.mp4|1", "b": "b.webm|3"}, (1, 0, 0, 1)),
        "more": ({"a": "a.webm|1", "b": "y.mp4|3"}, (1, 1, 2, 0)),
    }
    for name, (names, told) in cases.items():
        (found,) = compare(e, renamed(place, name, **names), out=place / "c")["differences"]
        assert (found["paired"], found["renamed"], found["unpaired"], found["other_prompt"]) == told, name
    double = renamed(place, "double", a="x.mp4|1", b="y.mp4|1")
    with pytest.raises(UserError, match="no video is of one name or prompt"):
        compare(e, double, out=place / "c")  # which of the two it is, nobody knows


def test_a_result_is_held_against_the_scores_of_its_own_files(place: Path):
    run(place, "tracks")
    evaluate_command([place / "e"], Request(place / "f", "files"), Console(quiet=True))
    for runs in ((place / "e", place / "f"), (place / "f", place / "e")):
        (difference,) = compare(*runs, out=place / "c")["differences"]
        assert (difference["paired"], difference["if_score"]["mean"]) == (2, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"by_video": {}}, {"means": []}, {"means": {}}, {"by_video": {"a.mp4": {"kisa": "nan"}}}, {"failed": 3},
        {"videos": "many"}, {"agreement": 5}, {"agreement": {"true": {"lines": 5}}}, {"bias": {"warnings": 5}},
    ],
)  # fmt: skip
def test_a_damaged_result_is_named(place: Path, change: dict[str, Any]):
    run(place, "tracks")
    shutil.copytree(place / "e", place / "f")
    scores = json.loads((place / "e" / "scores.json").read_text())
    (place / "f" / "scores.json").write_text(json.dumps(scores | change))
    with pytest.raises(UserError, match=r"f/scores\.json is damaged"):
        compare(place / "e", place / "f", out=place / "c")
    (place / "f" / "scores.json").write_text(json.dumps(scores).replace("1.0", "NaN"))
    with pytest.raises(UserError, match=r"f/scores\.json is damaged"):
        compare(place / "e", place / "f", out=place / "c")


def test_only_the_same_prompts_are_paired(place: Path):
    run(place, "tracks")
    for name, verb in (("mixed", None), ("other", "pull")):
        shutil.copytree(place / "e", place / name)
        scores = json.loads((place / name / "scores.json").read_text())
        scores["prompts"] |= {"a.mp4": "0"} | ({"b.mp4": "0"} if verb else {})
        (place / name / "scores.json").write_text(json.dumps(scores))
    (difference,) = compare(place / "e", place / "mixed", out=place / "c")["differences"]
    assert (difference["paired"], difference["other_prompt"]) == (1, 1)
    with pytest.raises(UserError, match="the 2 of one name have other prompts"):
        compare(place / "e", place / "other", out=place / "c")
    with pytest.raises(UserError, match="is given twice"):
        compare(place / "e", place / "e", out=place / "c")
    with pytest.raises(UserError, match="two folders"):
        compare(place / "e", out=place / "c")
    (place / "other" / "scores.json").write_text("{}")
    with pytest.raises(UserError, match="of another version"):
        compare(place / "e", place / "other", out=place / "c")
