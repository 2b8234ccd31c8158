"""`evaluate --judge vlm` and `--judge tracks` over videos and prompts on disk, a scripted server and a real client."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from matrix_train.cli.evaluate import Request, evaluate_command
from matrix_train.errors import UserError
from matrix_train.evaluate.exchange.reading import score_theirs
from matrix_train.evaluate.judge.by_truth import prompt_of
from matrix_train.evaluate.run import made_of
from matrix_train.evaluate.seen import footage
from schemas.idmap import encode_id_map
from tests import permissions
from tests.matrix_train.evaluate.made_up import FRAMES, HEIGHT, WIDTH, pushed
from tests.matrix_train.evaluate.on_disk import NAMES, engine_again, good, profile, run, write_prompts, write_video
from tests.tasks.engines.served.fault_server import Asked, FaultServer, Told, failed, said


def test_a_model_judges_and_a_second_run_asks_nothing(place: Path):
    with FaultServer(good) as server:
        found = run(place, "vlm", profile(place, server))
        assert run(place, "vlm", profile(place, server)) == found
        assert len(server.asked) == 4
    assert found["means"]["if_score"]["mean"] == 1 and found["failed"] == {}
    assert found["cost"]["requests"] == 4 and found["cost"]["prompt_tokens"] == 400
    assert 0.8 < found["measures"]["smoothness"]["mean"] < 1 and found["measures"]["dynamics"]["mean"] > 0
    assert score_theirs(place / "e")["a"].if_score == 1
    assert (place / "e" / "strips" / "a.mp4.jpg").stat().st_size > 500
    (line,) = found["agreement"]["vlm"]["lines"]
    assert "is not known: measure it by --bias" in line and line in (place / "e" / "report.html").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda asked: said("I am sorry, I cannot judge people."),
        lambda asked: said(good(asked).body.decode().replace("yes", "sí")),
        lambda asked: said(None, refusal="No."),
        lambda asked: failed(400, "content policy violation"),
        lambda asked: failed(400, "odd request"),
    ],
)
def test_who_does_not_answer_scores_nothing(place: Path, wrong: Callable[[Asked], Told]):
    with FaultServer(wrong) as server, pytest.raises(UserError):
        run(place, "vlm", profile(place, server))
    assert not (place / "e" / "scores.json").exists()


def swapped(told: str) -> str:
    """The answers are in another order than the questions."""
    return json.dumps(
        {key: value[::-1] if isinstance(value, list) else value for key, value in json.loads(told).items()}
    )


def test_videos_without_answers_that_hold_are_rows_and_tried_again(place: Path):
    wrong: dict[str, Callable[[str], str]] = {
        "in_german.mp4": lambda told: told.replace('"yes"', '"ja"'),
        "swapped.mp4": swapped,
        "refused.mp4": lambda told: "I would rather not judge people.",
    }
    (line,) = (json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()[:1])
    lines = [line] + [line | {"video": name, "prompt": name} for name in wrong]
    (place / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for name in wrong:
        shutil.copy(place / "v" / "b.mp4", place / "v" / name)
    (place / "v" / "b.mp4").unlink()
    well = [False]

    def script(asked: Asked) -> Told:
        change = wrong.get(asked.document.get("prompt", ""))
        if well[0] or change is None:
            return good(asked)
        return said(change(json.loads(good(asked).body)["choices"][0]["message"]["content"]))

    with FaultServer(script) as server:
        found = run(place, "vlm", profile(place, server))
        assert found["videos"] == 1 and found["failed"].keys() == wrong.keys()
        assert all("3 answers" in why for why in found["failed"].values())
        assert found["judge"].startswith("vlm v1 ") and " boxes embedded-tracker/" in found["judge"]
        well[0] = True
        assert run(place, "vlm", profile(place, server))["videos"] == 4


def test_a_server_down_half_way_ends_the_run_which_goes_on_from_there(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("matrix_train.evaluate.at_once.AT_ONCE", 1)
    up = [False]
    with FaultServer(lambda asked: good(asked) if up[0] or asked.number < 2 else failed(503)) as server:
        with pytest.raises(UserError, match="1 of 2 videos are judged and kept"):
            run(place, "vlm", profile(place, server))
        assert not (place / "e" / "scores.json").exists()
        up[0], asked = True, len(server.asked)
        engine_again()
        assert run(place, "vlm", profile(place, server))["videos"] == 2
        assert len(server.asked) == asked + 2


@pytest.mark.parametrize("given", [{"tracks": "t.tracks.json"}, {"idmap": "t.png"}])
def test_tracks_given_or_made_are_judged(place: Path, given: dict[str, str]):
    write_prompts(place / "p.jsonl", **given)
    found = run(place, "tracks")
    assert found["videos"] == 2 and found["means"]["sgi_raw"]["mean"] == 1
    assert found["judge"].startswith("tracks 3 ")
    ((kind, table),) = found["agreement"].items()
    assert kind == ("true" if "tracks" in given else found["judge"].removeprefix("tracks 3 "))
    assert table["questions"]["Q8"]["true_asked"] > 0 and table["lines"][0] in (place / "e" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tracks": None}, "neither tracks nor idmap"),
        ({"tracks": "none.json"}, "there is no"),
        ({"tracks": "v"}, "cannot be read: Is a directory"),
        ({"tracks": "pipe"}, "pipe is no file"),
        ({"tracks": "/dev/zero"}, "/dev/zero is no file"),
        ({"tracks": "x" * 300}, "cannot be read: File name too long"),
        ({"tracks": None, "idmap": "p.jsonl"}, "is no readable PNG"),
    ],
)
def test_what_cannot_be_judged_is_named(place: Path, more: dict[str, Any], told: str):
    os.mkfifo(place / "pipe")
    write_prompts(place / "p.jsonl", **more)
    with pytest.raises(UserError, match=told):
        run(place, "tracks")


def test_a_file_that_may_not_be_read_is_its_row_alone(place: Path):
    (place / "v" / "b.mp4").chmod(0)
    command = [sys.executable, permissions.__file__, sys.executable, "-m", "matrix_train", "evaluate", str(place / "v")]
    command += ["--prompts", str(place / "p.jsonl"), "--judge", "tracks", "--out", str(place / "e"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == permissions.UNABLE:
        pytest.skip("this machine does not let root give powers away")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["failed"] == {"b.mp4": "cannot be decoded: Permission denied: encode it again"}


def test_what_has_changed_since_is_judged_again(place: Path):
    run(place, "tracks")
    first = rows(place)
    lines = [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()]
    (act,) = lines[0]["interactions"]
    lines[0]["interactions"].append(act | {"subject": act["object"], "object": act["subject"]})
    (place / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run(place, "tracks")["means"]["sgi_raw"]["mean"] < 1
    second = rows(place)
    assert [len(row["answers"]) for row in second] == [2, 1] and second[1] == first[1]
    write_video(place / "v" / "b.mp4", ground=60)
    run(place, "tracks")
    assert rows(place)[0] == second[0] and rows(place)[1]["measures"] != first[1]["measures"]


def rows(place: Path) -> list[Any]:
    return [json.loads((place / "e" / "judged" / f"{name}.json").read_text()) for name in NAMES]


def test_answers_are_of_all_that_they_come_from(place: Path, monkeypatch: pytest.MonkeyPatch):
    prompt, video, tracks = prompt_of(pushed()), place / "v" / "a.mp4", place / "t.tracks.json"
    found = {made_of(prompt, video), made_of(prompt, video, tracks)}
    found.add(made_of(prompt.model_copy(update={"prompt": "A box bites a man."}), video, tracks))
    tracks.write_text(tracks.read_text() + " ")
    found.add(made_of(prompt, video, tracks))
    monkeypatch.setattr("matrix_train.evaluate.run.VERSION", "v0")
    found.add(made_of(prompt, video, tracks))
    video.unlink()
    found.add(made_of(prompt, video, tracks))
    assert len(found) == 6


def test_a_place_that_takes_no_file_is_an_error_of_its_own(place: Path):
    (place / "e").mkdir()
    (place / "e" / "strips").touch()
    with pytest.raises(FileExistsError):
        run(place, "tracks")


def test_what_does_too_much_to_the_decoder_is_a_failed_row(place: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(footage, "MOST_BYTES", 10 * HEIGHT * WIDTH * 3)
        assert run(place, "tracks")["videos"] == 2  # of tracks given, every fifth frame is enough
        write_prompts(place / "p.jsonl", idmap="t.png")
        with pytest.raises(UserError, match=r"a\.mp4: too large: its frames of 96 x 64, .* give it a tracks"):
            run(place, "tracks")
    monkeypatch.setattr(footage, "CHILD", "tests.tasks.ingest.sandbox_jobs:crash")
    with pytest.raises(UserError, match="the decoder died of SIG"):
        run(place, "tracks")


def test_a_list_of_other_files_is_no_video(place: Path):
    (place / "v" / "b.mp4").write_bytes(b"ffconcat version 1.0\nfile 'a.mp4'\n")
    assert run(place, "tracks")["failed"] == {"b.mp4": "cannot be decoded: Invalid argument: encode it again"}


def test_who_is_who_is_known_before_a_video_is_decoded(place: Path):
    (place / "v" / "b.mp4").write_bytes(b"")
    (place / "one.png").write_bytes(encode_id_map(np.eye(HEIGHT, WIDTH, dtype=np.uint8)))
    lines = [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()]
    lines[1] |= {"tracks": None, "idmap": "one.png"}
    (place / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run(place, "tracks")["failed"] == {"b.mp4": "no track of id2, which the prompt names"}


def test_a_name_sends_a_terminal_nothing(place: Path):
    name = "\x1b[31mred\nmodel: 2 videos.mp4"
    (place / "v" / "b.mp4").rename(place / "v" / name)
    (place / "v" / name).write_bytes(b"")
    (place / "p.jsonl").write_text((place / "p.jsonl").read_text().replace('"b.mp4"', json.dumps(name)))
    with io.StringIO() as screen:
        asked = Request(place / "e", "tracks", None, place / "p.jsonl")
        evaluate_command([place / "v"], asked, Console(file=screen))
        told = screen.getvalue()
    assert r"not judged: \x1b[31mred\nmodel: 2 videos.mp4: cannot be decoded" in told and "\x1b" not in told


def test_another_number_of_frames_is_one_failed_row(place: Path):
    write_video(place / "v" / "b.mp4", FRAMES - 4)
    found = run(place, "tracks")
    assert found["videos"] == 1 and "has 31 masks, the video 27 frames" in found["failed"]["b.mp4"]


def test_what_is_wrong_with_one_video_is_its_row_alone(place: Path):
    lines = [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()][:1]
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(place / "grey.png")
    strange = Image.fromarray(np.full((HEIGHT, WIDTH), 200, np.uint8), "P")
    strange.putpalette([value % 256 for value in range(768)])
    strange.save(place / "strange.png")
    whole = (place / "v" / "b.mp4").read_bytes()
    odd: dict[str, tuple[bytes, dict[str, Any], str]] = {
        "b.mp4": (b"", {}, "Invalid data"),
        "cut.mp4": (whole[: len(whole) // 2], {}, "video|data"),
        "text.mp4": (b"no video", {}, "Invalid data"),
        "folder.mp4": (whole, {"tracks": "v"}, "Is a directory"),
        "away.mp4": (whole, {"tracks": "../../none/tracks.json"}, "there is no"),
        "grey.mp4": (whole, {"tracks": None, "idmap": "grey.png"}, "is no palette image"),
        "strange.mp4": (whole, {"tracks": None, "idmap": "strange.png"}, "other colours than the palette's"),
    }
    for name, (content, more, _) in odd.items():
        (place / "v" / name).write_bytes(content)
        lines.append(lines[0] | {"video": name} | more)
    (place / "v" / "a.mp4").rename(place / "v" / "ein Ständer 中文 #%?.mp4")
    lines[0] |= {"video": "ein Ständer 中文 #%?.mp4"}
    (place / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = run(place, "tracks")
    assert list(found["by_video"]) == ["ein Ständer 中文 #%?.mp4"]
    for name, (_, _, why) in odd.items():
        assert re.search(why, found["failed"][name]), (name, found["failed"][name])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"video": "../b.mp4"}, "line 2: video: String should match"),
        ({"video": "x" * 250 + ".mp4"}, "longer than 240 bytes"),
        ({"video": "a.mp4"}, "has a line already"),
        ({"contact": 3}, "line 2: contact: unknown key"),
    ],
)
def test_a_line_that_is_wrong_is_named(place: Path, change: dict[str, Any], told: str):
    lines = [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()]
    (place / "p.jsonl").write_text("\n".join(map(json.dumps, [lines[0], lines[1] | change])))
    with pytest.raises(UserError, match=told):
        run(place, "tracks")
    (place / "p.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="line 1: Invalid JSON"):
        run(place, "tracks")


def test_an_out_that_cannot_be_written_is_told_before_a_model_is_asked(place: Path):
    (place / "e").write_text("A file.")
    with FaultServer(good) as server, pytest.raises(OSError, match="File exists"):
        run(place, "vlm", profile(place, server))
    assert not server.asked


def test_files_of_somebody_else_are_not_written_over(place: Path):
    (place / "e").mkdir()
    (place / "e" / "question_verification.json").write_text("[]")
    with FaultServer(good) as server, pytest.raises(UserError, match="is of no run of this command"):
        run(place, "vlm", profile(place, server))
    assert not server.asked and [path.name for path in (place / "e").iterdir()] == ["question_verification.json"]


def test_results_of_another_judge_are_not_gone_on_from(place: Path):
    run(place, "tracks")
    with FaultServer(good) as server, pytest.raises(UserError, match="give a new --out"):
        run(place, "vlm", profile(place, server))
    assert not server.asked


def test_videos_and_prompts_go_together(place: Path):
    (place / "v" / "c.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"no prompt for c\.mp4"):
        run(place, "tracks")
    (place / "v" / "c.mp4").unlink()
    (place / "v" / "a.mp4").unlink()
    with pytest.raises(UserError, match=r"no video a\.mp4"):
        run(place, "tracks")
    with pytest.raises(UserError, match="no profile of that name"):
        run(place, "vlm", "no")
    with pytest.raises(UserError, match="answers no questions"):
        run(place, "vlm")
