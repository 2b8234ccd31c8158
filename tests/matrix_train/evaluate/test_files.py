"""The authors' files: what we write has their fields, and what is read gives the same scores."""

import json
from pathlib import Path

import pytest

from matrix_train.errors import UserError
from matrix_train.evaluate import files
from matrix_train.evaluate.protocol import Prompt
from matrix_train.evaluate.scores import Answer, FrameCheck, video_scores
from matrix_train.files import write_json

PROMPT = Prompt.model_validate(
    {
        "video": "000.mp4",
        "prompt": "A tall man pushes a small box.",
        "instances": [
            {"id": "id1", "cls": "man", "appearance": "tall man"},
            {"id": "id2", "cls": "box", "appearance": "small box"},
        ],
        "interactions": [{"subject": "id1", "verb": "push", "object": "id2"}],
    }
)

ANSWERS = [[Answer(question_id=q, answer="yes" if q % 2 else "no", frame_index=5) for q in range(1, 11)]]
CHECKS = [FrameCheck(frame_idx=5, emergence=True, disappearance=False)] + [
    FrameCheck(frame_idx=f, emergence=False, disappearance=False) for f in (10, 15, 20)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files.write_questions(tmp_path, [PROMPT])
    write_json(tmp_path / files.VERIFICATION_FILE, [files.verified_video(PROMPT, ANSWERS, [0, 5, 10, 15, 20], "j")])
    write_json(tmp_path / files.PERSISTENCE_FILE, [files.persistence_video(PROMPT, CHECKS, "j")])
    return tmp_path


def test_their_field_names(folder: Path):
    questions = json.loads((folder / "questions" / "000.json").read_text())
    assert questions["entity"] == ["man", "box"] and questions["colors"] == ["red", "green"]
    assert len(questions["items"][0]["questions"]) == 10
    (verified,) = json.loads((folder / "question_verification.json").read_text())
    assert verified["items"][0]["question_verification_results"][0] == {
        "question_id": 1, "answer": "yes", "frame_index": 5,
    }  # fmt: skip
    (persistence,) = json.loads((folder / "_emergence_disappearance.json").read_text())
    assert persistence["frames_analyzed"] == 5
    assert [f["emergence"] for f in persistence["hallucination_results"]] == ["yes", "no", "no", "no"]


def test_what_is_read_is_what_was_written(folder: Path):
    assert files.read_questions(folder)["000"] == files.questions_file(PROMPT)
    scores = files.score_theirs(folder)["000"]
    assert scores == video_scores(ANSWERS, CHECKS)
    assert (scores.kisa_raw, scores.sgi_raw, scores.spi) == (0.5, 0.5, 0.375)
    path = folder / files.COMBINED_FILE
    write_json(path, files.summary("a", "all", {"000": (PROMPT.prompt, scores)}))
    row = files.read_combined(path)["a"]["all"]["000"]
    assert (row.IF_score, row.SGA_SPI) == (0.1875, 0.1875)


def test_fields_of_theirs_that_we_do_not_know_are_read_over(folder: Path):
    path = folder / files.PERSISTENCE_FILE
    (video,) = json.loads(path.read_text())
    path.write_text(json.dumps([video | {"overall_analysis": {"emergence": "yes"}, "hallucination_score": 1}]))
    assert files.score_theirs(folder)["000"].spi == 0.375


def test_what_their_scripts_take_for_a_no_is_refused(folder: Path):
    path = folder / files.VERIFICATION_FILE
    (video,) = json.loads(path.read_text())
    video["items"][0]["question_verification_results"].pop(3)
    path.write_text(json.dumps([video]))
    with pytest.raises(UserError, match="000: no answer to Q4: have it judged again"):
        files.score_theirs(folder)
    video["items"][0]["question_verification_results"] = {"raw_response": "I cannot", "parsing_error": "x"}
    path.write_text(json.dumps([video]))
    with pytest.raises(UserError, match="question_verification_results"):
        files.score_theirs(folder)
    path.write_text("[]")
    with pytest.raises(UserError, match="000 is in one of"):
        files.score_theirs(folder)
    path.unlink()
    with pytest.raises(UserError, match="there is no"):
        files.score_theirs(folder)


def test_a_frame_that_failed_there_is_no_frame_without_a_fault(folder: Path):
    path = folder / files.PERSISTENCE_FILE
    (video,) = json.loads(path.read_text())
    video["hallucination_results"][0]["emergence"] = "error"
    path.write_text(json.dumps([video]))
    with pytest.raises(UserError, match="emergence"):
        files.score_theirs(folder)
