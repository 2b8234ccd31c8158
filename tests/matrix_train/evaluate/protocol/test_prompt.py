"""Prompts, frames, boxes and the ten questions."""

import json
from pathlib import Path

import numpy as np
import pytest

from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.prompt import Prompt, chosen_frames, match_videos, read_prompts, with_boxes
from matrix_train.evaluate.protocol.questions import questions_of
from matrix_train.sample.beside import beside_videos
from schemas.palette import colour

LINE = {
    "video": "000.mp4",
    "prompt": "A tall man pushes a small box.",
    "instances": [
        {"id": "id1", "cls": "man", "appearance": "tall man"},
        {"id": "id2", "cls": "box", "appearance": "small box"},
    ],
    "interactions": [{"subject": "id1", "verb": "push", "object": "id2"}],
}


@pytest.mark.parametrize(
    ("count", "frames"), [(2, [0, 1]), (6, [0, 5]), (7, [0, 5, 6]), (13, [0, 5, 10, 12]), (49, [*range(0, 46, 5), 48])]
)
def test_first_last_and_every_fifth(count: int, frames: list[int]):
    assert chosen_frames(count) == frames


def test_one_frame_shows_no_interaction():
    with pytest.raises(ValueError, match="one frame"):
        chosen_frames(1)


def test_both_are_named_with_their_colours_but_in_q7_and_q10():
    prompt = Prompt.model_validate(LINE)
    questions = questions_of(prompt, prompt.interactions[0])
    assert len(set(questions)) == 10
    for number, question in enumerate(questions, 1):
        assert ("tall man (red bbox)" in question) == (number != 10)
        assert ("small box (green bbox)" in question) == (number != 7)
    assert "push" not in questions[6]  # Q7 does not say what is done


def test_a_box_lies_around_its_mask_and_an_empty_mask_has_none():
    frame = np.zeros((40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    drawn = with_boxes(frame, {"id2": mask, "id1": np.zeros_like(mask)})
    assert not frame.any()
    assert {tuple(p) for p in drawn.reshape(-1, 3).tolist()} == {(0, 0, 0), colour("id2")}
    rows, columns = np.nonzero(drawn.any(2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 21, 28, 51)
    assert not drawn[10:20, 30:50].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"interactions": []}, "interactions"),
        ({"interactions": [{"subject": "id1", "verb": "push", "object": "id1"}]}, "two different instances"),
        ({"interactions": [{"subject": "id1", "verb": "push", "object": "id3"}]}, "two different instances"),
        ({"instances": [*LINE["instances"], LINE["instances"][0]]}, "given twice"),
        ({"instances": [*LINE["instances"], {"id": "id11", "cls": "cup", "appearance": "cup"}]}, "no colour"),
        ({"video": "a/000.mp4"}, "video"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict[str, object], said: str):
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "video": "001.mp4"} | change))
    with pytest.raises(UserError, match=f"line 3: .*{said}"):
        read_prompts(file)


def test_lines_end_with_a_line_feed_alone(tmp_path: Path):
    file, said = tmp_path / "p.jsonl", "A man\u2028pushes\x85a cup."
    text = json.dumps({**LINE, "prompt": said}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    assert [prompt.prompt for prompt in read_prompts(file)] == [said]
    file.write_bytes(json.dumps({**LINE, "prompt": "Un garçon"}, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(UserError, match=r"line 1: Invalid JSON: .* at byte"):
        read_prompts(file)


def test_videos_and_prompts_must_match(tmp_path: Path):
    (tmp_path / "000.mp4").touch()
    file = tmp_path / "p.txt"
    file.write_text("\n".join(json.dumps({**LINE, "video": v}) for v in ("000.mp4", "001.mp4")))
    prompts = read_prompts(file)
    file.unlink()
    with pytest.raises(UserError, match=r"no video 001\.mp4"):
        match_videos(tmp_path, prompts)
    (tmp_path / "000.json").touch()  # the sampler's record
    match_videos(tmp_path, prompts[:1], beside_videos(tmp_path))
    (tmp_path / "000.json").unlink()
    with pytest.raises(UserError, match="several videos are called 000"):
        match_videos(tmp_path, [prompts[0], prompts[0].model_copy(update={"video": "000.avi"})])
    (tmp_path / "002.mp4").touch()
    with pytest.raises(UserError, match=r"no prompt for 002\.mp4"):
        match_videos(tmp_path, prompts[:1])
    file.write_text(f"{json.dumps(LINE)}\n{json.dumps(LINE)}")
    with pytest.raises(UserError, match="a line already"):
        read_prompts(file)
