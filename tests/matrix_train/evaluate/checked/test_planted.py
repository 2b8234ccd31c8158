"""`evaluate --judge vlm --bias WORLD`: judges whose honesty is scripted, through the command and a real client."""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from matrix_train.cli.evaluate import Request, evaluate_command
from matrix_train.errors import UserError
from matrix_train.evaluate.checked.bias import PAINTED
from tests.matrix_train.evaluate.made_up import BOX, MAN, pushed
from tests.matrix_train.evaluate.on_disk import COLOURS, engine_again, judging, profile, run, write_video
from tests.tasks.engines.served.fault_server import Asked, FaultServer, failed

NOT = {
    "still": range(2, 11), "exchanged": range(7, 11), "no_contact": (3, 4), "no_effect": (5, 6), "wrong_one": (7, 8, 9)
}  # fmt: skip
"""To which questions a plant makes no the right answer."""
LATE = [25, 30]
CHANGES = {
    "vanishes": {"disappearance": LATE}, "doubles": {"emergence": LATE},
    "drifts": {"emergence": LATE, "disappearance": LATE},
}  # fmt: skip


def plant_of(asked: Asked) -> str:
    """What was planted, as one sees it who knows nothing but words and pixels."""
    urls = [part["image_url"]["url"] for part in asked.parts if part["type"] == "image_url"]
    if len(set(urls)) == 1:
        return "still"
    if "questions" in asked.document and asked.document["questions"][7]["question"].startswith("Is it the red box"):
        return "exchanged"
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls]
    red, blue = COLOURS[MAN], COLOURS[BOX]
    men, boxes = [blocks(p, red) for p in pictures], [blocks(p, blue) for p in pictures]
    if any(len(there) == 2 for there in men):
        return "wrong_one"
    if len(boxes[-1]) != 1:
        other = blocks(pictures[-1], (255 - blue[0], 255 - blue[1], 255 - blue[2]))
        return "doubles" if boxes[-1] else "drifts" if other else "vanishes"
    if abs(boxes[0][0][0] - boxes[-1][0][0]) < 3:
        return "no_effect"
    gaps = [max(box[0][0] - man[0][1], man[0][0] - box[0][1]) for man, box in zip(men, boxes, strict=True)]
    return "true" if min(gaps) <= 5 else "no_contact"


def blocks(picture: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """From where to where blocks of this colour reach along a row, without what is as thin as the line of a box."""
    like = (np.abs(picture.astype(int) - colour).max(2) < 50).astype(np.uint8)
    columns = cv2.erode(like, np.ones((5, 5), np.uint8)).sum(0) > 2
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns.astype(int), [0]])))
    return [(int(left), int(right)) for left, right in edges.reshape(-1, 2)]


def right(asked: Asked, question: int) -> bool:
    return question not in NOT.get(plant_of(asked), ())


def changes(asked: Asked) -> dict[str, list[int]]:
    return CHANGES.get(plant_of(asked), {})


def credulous(asked: Asked, question: int) -> bool:
    """Takes exchanged roles for right in Q7, and sees none of it in the video whose prompt says so."""
    if asked.document["prompt"] == "Nothing is seen.":
        return question != 7
    return right(asked, question) or (question == 7 and plant_of(asked) == "exchanged")


@pytest.fixture
def world(place: Path) -> Path:
    write_video(place / "w" / "raw" / "pushed.mp4", ground=100)
    (place / "w" / "truth").mkdir()
    (place / "w" / "truth" / "pushed.mp4.json").write_text(pushed().model_dump_json())
    lines = (place / "p.jsonl").read_text().splitlines()
    second = json.loads(lines[1]) | {"prompt": "Nothing is seen."}
    (place / "p.jsonl").write_text(f"{lines[0]}\n{json.dumps(second)}")
    return place / "w"


def mean(found: dict[str, Any], kind: str) -> dict[str, float]:
    return {name: row["mean"] for name, row in found[kind].items()}


def test_a_perfect_judge_is_believed_and_asked_once(place: Path, world: Path):
    with FaultServer(judging(right, changes)) as server:
        found = run(place, "vlm", profile(place, server), bias=world)
        asked = len(server.asked)
        assert run(place, "vlm", profile(place, server), bias=world) == found
        assert len(server.asked) == asked == 10 + 4
    assert found["bias"]["warnings"] == ["Q1: never asked where no is right: its bias is not known"]
    assert found["bias"]["questions"]["Q8"] == {
        "false_asked": 3, "yes_to_false": 0, "true_asked": 1, "yes_to_true": 1, "false_rate": 0, "true_rate": 1,
    }  # fmt: skip
    assert found["bias"]["checks"]["emergence"] == {
        "false_asked": 20, "yes_to_false": 0, "true_asked": 4, "yes_to_true": 4, "false_rate": 0, "true_rate": 1,
    }  # fmt: skip
    assert list(found["bias"]["plants"]) == ["true", "exchanged", "still", *PAINTED]
    assert mean(found, "corrected") == {"kisa": 1, "sgi": 1, "if_score": 1}
    assert json.loads((place / "e" / "bias" / "bias.json").read_text()) == found["bias"]


def test_a_biased_one_is_warned_of_and_corrected_in_results_and_page(place: Path, world: Path):
    with FaultServer(judging(credulous, changes)) as server:
        found = run(place, "vlm", profile(place, server), bias=world)
    assert "Q7: yes to 1 of 3 false questions (0.33)" in found["bias"]["warnings"]
    # Q7 counts (1 − ⅓) / (1 − ⅓) = 1 in one video, (0 − ⅓) / ⅔ = −½ in the other.
    assert mean(found, "means")["sgi_raw"] == 0.875 and mean(found, "corrected")["sgi"] == pytest.approx(0.8125)
    page = (place / "e" / "report.html").read_text()
    assert "Q7: yes to 1 of 3 false questions" in page
    assert re.search(r"<td>SGI</td><td>0.875</td>(<td>[^<]+</td>){2}<td>0.81[23]</td>", page)


def test_of_several_models_too_a_biased_judge_is_warned_of(place: Path, world: Path):
    (place / "v").rename(place / "one")
    for model in ("base", "lora"):
        shutil.copytree(place / "one", place / "v" / model)
    console = Console(record=True, width=200, file=io.StringIO())
    with FaultServer(judging(credulous, changes)) as server:
        asked = Request(place / "e", "vlm", None, place / "p.jsonl", profile(place, server), bias=world)
        found = evaluate_command([place / "v"], asked, console)
    assert [model["corrected"]["sgi"]["mean"] for model in found["models"]] == [pytest.approx(0.8125)] * 2
    said, page = console.export_text(), (place / "e" / "report.html").read_text()
    assert said.count("warning: Q7: yes to 1 of 3") == page.count("Q7: yes to 1 of 3") == 2


def test_a_judge_is_untested_where_no_run_has_put_it_to_the_test(place: Path, world: Path):
    with FaultServer(judging(credulous, changes)) as server:
        for name in ("e1", "e2"):
            run(place, "vlm", profile(place, server))
            (place / "e").rename(place / name)
        run(place, "vlm", profile(place, server), bias=world)
    for runs, told in ((("e1", "e2"), ["vlm"]), (("e1", "e"), []), (("e", "e1"), [])):
        asked = Request(place / "c", compare=True)
        found = evaluate_command([place / name for name in runs], asked, Console(quiet=True))
        assert list(found["agreement"]) == told


def test_one_that_always_says_yes_gets_no_corrected_score(place: Path, world: Path):
    with FaultServer(judging(lambda asked, question: True)) as server:
        found = run(place, "vlm", profile(place, server), bias=world)
    assert found["corrected"] == {} and found["bias"]["warnings"][-1].startswith("no better than chance on Q2, Q3")


def test_a_server_lost_in_between_is_no_answer_and_another_world_is_asked_anew(place: Path, world: Path):
    up = [False]
    script = judging(right, changes)
    with FaultServer(lambda asked: script(asked) if up[0] or asked.number < 1 else failed(503)) as server:
        with pytest.raises(UserError):
            run(place, "vlm", profile(place, server), bias=world)
        assert not (place / "e" / "judged").exists()
        up[0] = True
        engine_again()
        assert run(place, "vlm", profile(place, server), bias=world)["bias"]["failed"] == {}
        asked = len(server.asked)
        truth = pushed().model_copy(update={"caption": "A man shoves a box."})
        (world / "truth" / "pushed.mp4.json").write_text(truth.model_dump_json())
        assert run(place, "vlm", profile(place, server), bias=world)["bias"]["failed"] == {}
        assert (
            len(server.asked) == asked + 5
        )  # what is exchanged has words of its own, and frames are checked without any
        write_video(world / "raw" / "pushed.mp4", ground=80)
        assert run(place, "vlm", profile(place, server), bias=world)["bias"]["failed"] == {}
        assert len(server.asked) == asked + 5 + 10


def test_bias_is_of_a_model_that_looks(place: Path, world: Path):
    with pytest.raises(UserError, match="--bias is for --judge vlm"):
        run(place, "tracks", bias=world)
    with FaultServer(judging(right, changes)) as server, pytest.raises(UserError, match="no truth below"):
        run(place, "vlm", profile(place, server), bias=place / "v")
