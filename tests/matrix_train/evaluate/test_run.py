"""`matrix_train evaluate` over a small made-up world on disk: results, resuming, comparing, bad input."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console

from matrix_train.cli.evaluate import Request, evaluate_command
from matrix_train.errors import UserError
from matrix_train.evaluate.exchange.reading import read_combined, read_questions, score_theirs
from matrix_train.evaluate.protocol.scores import SCORES
from tests.matrix_train.evaluate.made_up import FRAMES, pushed


def write_video(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(frames):
            picture = np.full((64, 96, 3), 4 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two good videos, one with nothing to ask, one broken file."""
    (tmp_path / "w" / "truth").mkdir(parents=True)
    (tmp_path / "w" / "raw").mkdir()
    for name, more in (
        ("a.mp4", {}),
        ("b.mp4", {}),
        ("silent.mp4", {"triplets": (), "expect": "no_interaction"}),
        ("broken.mp4", {"expect": "unreadable"}),
    ):
        truth = pushed().model_copy(update={"video": name, **more})
        (tmp_path / "w" / "truth" / f"{name}.json").write_text(truth.model_dump_json())
        write_video(tmp_path / "w" / "raw" / name, FRAMES)
    return tmp_path / "w"


def run(*folders: Path, out: Path, world: Path | None = None, judge: str = "truth", compare: bool = False) -> dict:
    return evaluate_command(folders, Request(out, judge, world, compare=compare), Console(quiet=True))


def test_a_world_is_judged_by_its_truth(world: Path, tmp_path: Path):
    found = run(world / "raw", out=tmp_path / "e", world=world)
    assert (found["videos"], found["not_asked"], found["failed"]) == (2, 2, {})
    assert found["means"]["if_score"] == {"mean": 1, "low": 1, "high": 1}
    assert json.loads((tmp_path / "e" / "scores.json").read_text()) == found
    assert score_theirs(tmp_path / "e")["a"].if_score == 1
    assert set(read_combined(tmp_path / "e")) == set(read_questions(tmp_path / "e")) == {"a", "b"}


def test_a_run_goes_on_from_what_was_judged_and_one_failure_is_one_row(world: Path, tmp_path: Path):
    write_video(world / "raw" / "b.mp4", FRAMES - 3)
    found = run(world / "raw", out=tmp_path / "e", world=world)
    assert found["videos"] == 1 and found["failed"] == {"b.mp4": "28 frames, its truth has 31"}
    assert set(read_questions(tmp_path / "e")) == {"a", "b"}, "asked of every prompt, answered or not"
    write_sound(world / "raw" / "b.mp4")
    assert run(world / "raw", out=tmp_path / "e", world=world)["failed"] == {"b.mp4": "no video stream"}
    judged = (tmp_path / "e" / "judged" / "a.mp4.json").stat().st_mtime_ns
    write_video(world / "raw" / "b.mp4", FRAMES)
    assert run(world / "raw", out=tmp_path / "e", world=world)["videos"] == 2
    assert (tmp_path / "e" / "judged" / "a.mp4.json").stat().st_mtime_ns == judged


def test_a_truth_is_of_its_own_video_alone(world: Path, tmp_path: Path):
    shutil.copytree(world / "raw", tmp_path / "v")
    assert run(tmp_path / "v", out=tmp_path / "e", world=world)["failed"] == {}
    assert (tmp_path / "e" / "strips" / "a.mp4.jpg").stat().st_size > 500
    assert 'src="strips/a.mp4.jpg"' in (tmp_path / "e" / "report.html").read_text()
    shutil.copy(world / "raw" / "a.mp4", tmp_path / "a.mp4")
    (tmp_path / "v" / "a.mp4").write_bytes((tmp_path / "a.mp4").read_bytes() + b"\0")
    failed = run(tmp_path / "v", out=tmp_path / "e", world=world)["failed"]
    assert "a.mp4, which the truth is of: judge it by" in failed["a.mp4"]
    small = pushed().model_copy(update={"video": "b.mp4", "width": 95})
    (world / "truth" / "b.mp4.json").write_text(small.model_dump_json())
    shutil.copy(tmp_path / "a.mp4", tmp_path / "v" / "a.mp4")
    assert run(tmp_path / "v", out=tmp_path / "e", world=world)["failed"] == {
        "b.mp4": "96 x 64 pixels, its truth has 95 x 64"
    }


def test_results_are_not_written_over_what_is_read(world: Path, tmp_path: Path):
    run(world / "raw", out=tmp_path / "e", world=world)
    run(world / "raw", out=tmp_path / "f", world=world)
    page = (tmp_path / "e" / "report.html").read_bytes()
    with pytest.raises(UserError, match="is what is read"):
        run(tmp_path / "e", tmp_path / "f", out=tmp_path / "e", compare=True)
    with pytest.raises(UserError, match="is what is read"):
        run(world / "raw", out=world / "raw", world=world)
    assert (tmp_path / "e" / "report.html").read_bytes() == page


def test_files_of_somebody_else_are_not_written_over(world: Path, tmp_path: Path):
    (tmp_path / "theirs" / "questions").mkdir(parents=True)
    (tmp_path / "theirs" / "questions" / "a.json").write_text("{}")
    with pytest.raises(UserError, match="questions there is of no run of this command"):
        run(world / "raw", out=tmp_path / "theirs", world=world)
    assert (tmp_path / "theirs" / "questions" / "a.json").read_text() == "{}"


def test_a_video_or_truth_that_was_remade_is_judged_again(world: Path, tmp_path: Path):
    found = run(world / "raw", out=tmp_path / "e", world=world)
    write_video(world / "raw" / "a.mp4", FRAMES - 3)
    truth = pushed().model_copy(update={"video": "b.mp4"})
    (man, box) = truth.instances
    gone = man.model_copy(update={"masks": (*man.masks[:20], *[None] * (FRAMES - 20))})
    (world / "truth" / "b.mp4.json").write_text(truth.model_copy(update={"instances": (gone, box)}).model_dump_json())
    again = run(world / "raw", out=tmp_path / "e", world=world)
    assert again["failed"] == {"a.mp4": "28 frames, its truth has 31"}
    assert again["by_video"]["b.mp4"]["spi"] < found["by_video"]["b.mp4"]["spi"]


def test_a_run_that_scores_nothing_leaves_no_result_of_what_was_there(world: Path, tmp_path: Path):
    run(world / "raw", out=tmp_path / "e", world=world)
    for name in ("a.mp4", "b.mp4"):
        write_video(world / "raw" / name, FRAMES - 3)
    with pytest.raises(UserError, match="none of 2 videos could be judged"):
        run(world / "raw", out=tmp_path / "e", world=world)
    assert not (tmp_path / "e" / "scores.json").exists()


def test_runs_are_compared_by_video(world: Path, tmp_path: Path):
    run(world / "raw", out=tmp_path / "e", world=world)
    worse = json.loads((tmp_path / "e" / "scores.json").read_text())
    worse["by_video"] = {"a.mp4": dict.fromkeys(SCORES, 0.5), "c.mp4": dict.fromkeys(SCORES, 0.0)}
    worse["prompts"] = dict.fromkeys(worse["by_video"], worse["prompts"]["a.mp4"])
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "scores.json").write_text(json.dumps(worse))
    (difference,) = run(tmp_path / "e", tmp_path / "f", out=tmp_path / "c", compare=True)["differences"]
    assert (difference["paired"], difference["unpaired"]) == (1, 2)
    assert difference["kisa"] == {"mean": -0.5, "low": -0.5, "high": -0.5}
    (tmp_path / "f" / "scores.json").write_text(json.dumps(worse | {"prompts": {"a.mp4": "something else"}}))
    with pytest.raises(UserError, match="the 1 of one name have other prompts"):
        run(tmp_path / "e", tmp_path / "f", out=tmp_path / "c", compare=True)
    worse["judge"] = "another"
    (tmp_path / "f" / "scores.json").write_text(json.dumps(worse))
    with pytest.raises(UserError, match="the judges differ"):
        run(tmp_path / "e", tmp_path / "f", out=tmp_path / "c", compare=True)


def test_bad_input_is_named(world: Path, tmp_path: Path):
    out = tmp_path / "e"
    with pytest.raises(UserError, match="is no folder"):
        run(tmp_path / "none", out=out, world=world)
    with pytest.raises(UserError, match="needs --world"):
        run(world / "raw", out=out)
    with pytest.raises(UserError, match="needs --prompts"):
        run(world / "raw", out=out, judge="vlm")
    with pytest.raises(UserError, match="no truth below"):
        run(world / "raw", out=out, world=tmp_path)
    with pytest.raises(UserError, match="two folders"):
        run(world, out=out, compare=True)
    with pytest.raises(UserError, match=r"no scores\.json"):
        run(world, world / "raw", out=out, compare=True)
    (world / "raw" / "b.mp4").unlink()
    with pytest.raises(UserError, match=r"no video b\.mp4"):
        run(world / "raw", out=out, world=world)
    for name in ("a.mp4", "b.mp4"):
        (world / "truth" / f"{name}.json").unlink()
    with pytest.raises(UserError, match="states an interaction: there is nothing to ask"):
        run(world / "raw", out=out, world=world)
    (world / "truth" / "a.mp4.json").write_text("{}")
    with pytest.raises(UserError, match=r"a\.mp4\.json is no truth"):
        run(world / "raw", out=out, world=world)
