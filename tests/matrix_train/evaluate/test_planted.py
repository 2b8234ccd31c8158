"""`evaluate --judge vlm --bias WORLD`: judges whose honesty is scripted, through the command and a real client."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from matrix_train.errors import UserError
from tests.matrix_train.evaluate.made_up import pushed
from tests.matrix_train.evaluate.on_disk import engine_again, judging, profile, run, write_video
from tests.tasks.engines.served.fault_server import Asked, FaultServer, failed


def plant_of(asked: Asked) -> str:
    """What was planted, as one who looks closely sees it: still pictures, or the roles in the words of Q8."""
    pictures = [part["image_url"]["url"] for part in asked.parts if part["type"] == "image_url"]
    if len(set(pictures)) == 1:
        return "still"
    turned = asked.document["questions"][7]["question"].startswith("Is it the red box")
    return "exchanged" if turned else "true"


def right(asked: Asked, question: int) -> bool:
    plant = plant_of(asked)
    return plant == "true" or question == 1 or (plant == "exchanged" and question < 7)


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
    with FaultServer(judging(right)) as server:
        found = run(place, "vlm", profile(place, server), bias=world)
        asked = len(server.asked)
        assert run(place, "vlm", profile(place, server), bias=world) == found
        assert len(server.asked) == asked == 3 + 4
    assert found["bias"]["warnings"] == ["Q1: never asked where no is right: its bias is not known"]
    assert found["bias"]["questions"]["Q8"] == {
        "false_asked": 2, "yes_to_false": 0, "true_asked": 1, "yes_to_true": 1, "false_rate": 0, "true_rate": 1,
    }  # fmt: skip
    assert mean(found, "corrected") == {"kisa": 1, "sgi": 1, "if_score": 1}
    assert json.loads((place / "e" / "bias" / "bias.json").read_text()) == found["bias"]


def test_a_biased_one_is_warned_of_and_corrected_in_results_and_page(place: Path, world: Path):
    with FaultServer(judging(credulous)) as server:
        found = run(place, "vlm", profile(place, server), bias=world)
    assert "Q7: yes to 1 of 2 false questions (0.50)" in found["bias"]["warnings"]
    # Q7 counts (1 − ½) / (1 − ½) = 1 in one video, (0 − ½) / ½ = −1 in the other.
    assert mean(found, "means")["sgi_raw"] == 0.875 and mean(found, "corrected")["sgi"] == pytest.approx(0.75)
    page = (place / "e" / "report.html").read_text()
    assert "Q7: yes to 1 of 2 false questions" in page
    assert re.search(r"<td>SGI</td><td>0.875</td>(<td>[^<]+</td>){2}<td>0.750</td>", page)


def test_one_that_always_says_yes_gets_no_corrected_score(place: Path, world: Path):
    with FaultServer(judging(lambda asked, question: True)) as server:
        found = run(place, "vlm", profile(place, server), bias=world)
    assert found["corrected"] == {} and found["bias"]["warnings"][-1].startswith("no better than chance on Q2, Q3")


def test_a_server_lost_in_between_is_no_answer_and_another_world_is_asked_anew(place: Path, world: Path):
    up = [False]
    script = judging(right)
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
        assert len(server.asked) == asked + 2  # what is exchanged has words of its own, as before
        write_video(world / "raw" / "pushed.mp4", ground=80)
        assert run(place, "vlm", profile(place, server), bias=world)["bias"]["failed"] == {}
        assert len(server.asked) == asked + 2 + 3


def test_bias_is_of_a_model_that_looks(place: Path, world: Path):
    with pytest.raises(UserError, match="--bias is for --judge vlm"):
        run(place, "tracks", bias=world)
    with FaultServer(judging(right)) as server, pytest.raises(UserError, match="no truth below"):
        run(place, "vlm", profile(place, server), bias=place / "v")
