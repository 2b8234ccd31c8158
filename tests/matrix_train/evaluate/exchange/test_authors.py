"""The authors' files: what we write has their fields, and what is read gives the same scores."""

import io
import json
import shutil
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from matrix_train.cli.evaluate import Request, evaluate_command
from matrix_train.errors import UserError
from matrix_train.evaluate.exchange import authors
from matrix_train.evaluate.exchange.reading import read_combined, read_questions, score_theirs
from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.evaluate.protocol.scores import Answer, FrameCheck, video_scores
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
    authors.write_questions(tmp_path, [PROMPT])
    write_json(tmp_path / authors.VERIFICATION_FILE, [authors.verified_video(PROMPT, ANSWERS, [0, 5, 10, 15, 20], "j")])
    write_json(tmp_path / authors.PERSISTENCE_FILE, [authors.persistence_video(PROMPT, CHECKS, "j")])
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
    assert read_questions(folder)["000"] == authors.questions_file(PROMPT)
    scores = score_theirs(folder)["000"]
    assert scores == video_scores(ANSWERS, CHECKS)
    assert (scores.kisa_raw, scores.sgi_raw, scores.spi) == (0.5, 0.5, 0.375)
    write_json(folder / authors.COMBINED_FILE, authors.summary("a", "all", {"000": (PROMPT.prompt, scores)}))
    row = read_combined(folder)["000"]
    assert (row.IF_score, row.SGA_SPI) == (0.1875, 0.1875)


def test_fields_of_theirs_that_we_do_not_know_are_read_over(folder: Path):
    path = folder / authors.PERSISTENCE_FILE
    (video,) = json.loads(path.read_text())
    path.write_text(json.dumps([video | {"overall_analysis": {"emergence": "yes"}, "hallucination_score": 1}]))
    assert score_theirs(folder)["000"].spi == 0.375


def test_an_answer_without_a_frame_is_one(folder: Path):
    """As their script writes it where a reply was no JSON and was searched for answers."""
    path = folder / authors.VERIFICATION_FILE
    (video,) = json.loads(path.read_text())
    del video["items"][0]["question_verification_results"][0]["frame_index"]
    path.write_text(json.dumps([video]))
    assert score_theirs(folder)["000"] == video_scores(ANSWERS, CHECKS)


def test_what_their_scripts_take_for_a_no_is_refused(folder: Path):
    path = folder / authors.VERIFICATION_FILE
    (video,) = json.loads(path.read_text())
    video["items"][0]["question_verification_results"].pop(3)
    path.write_text(json.dumps([video]))
    with pytest.raises(UserError, match="000: no answer to Q4: have it judged again"):
        score_theirs(folder)
    video["items"][0]["question_verification_results"] = {"raw_response": "I cannot", "parsing_error": "x"}
    path.write_text(json.dumps([video]))
    with pytest.raises(UserError, match="question_verification_results"):
        score_theirs(folder)
    path.write_text("[]")
    with pytest.raises(UserError, match="000 is in one of"):
        score_theirs(folder)
    path.unlink()
    with pytest.raises(UserError, match="there is no"):
        score_theirs(folder)


def test_a_frame_that_failed_there_is_no_frame_without_a_fault(folder: Path):
    path = folder / authors.PERSISTENCE_FILE
    (video,) = json.loads(path.read_text())
    video["hallucination_results"][0]["emergence"] = "error"
    path.write_text(json.dumps([video]))
    with pytest.raises(UserError, match="emergence"):
        score_theirs(folder)


def judged(folder: Path, out: Path, **more: Path) -> tuple[dict[str, Any], str]:
    console = Console(record=True, width=200, file=io.StringIO())
    return evaluate_command([folder], Request(out, "files", **more), console), console.export_text()


def test_a_folder_of_theirs_is_a_result_of_ours(folder: Path, tmp_path: Path):
    rounded = video_scores(ANSWERS, CHECKS).model_copy(update={"sgi_raw": 0.501})
    write_json(folder / authors.COMBINED_FILE, authors.summary("a", "all", {"000": (PROMPT.prompt, rounded)}))
    authors.write_questions(folder, [PROMPT, PROMPT.model_copy(update={"video": "001.mp4"})])
    found, said = judged(folder, tmp_path / "out")
    assert (found["judge"], found["videos"], found["by_video"]["000"]["if_score"]) == ("j", 1, 0.1875)
    assert found["failed"] == {"001": "no answer in question_verification.json"}
    assert found["theirs"] == {"videos": 1, "most_apart": pytest.approx(0.000188, abs=1e-6)}
    assert "their own IF of 1 videos is apart from it by 0.0002 at most" in said
    assert found["prompts"]["000"] == authors.digest(authors.questions_file(PROMPT)), "as of our own run"
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == found
    both = evaluate_command(
        [tmp_path / "out", shutil.copytree(tmp_path / "out", tmp_path / "b")],
        Request(tmp_path / "c", compare=True),
        Console(quiet=True),
    )
    assert both["differences"][0]["paired"] == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        "0.188" in page and page.count("<td>frame 5</td>") == 0 and page.count('<td class="faint">frame 5</td>') == 10
    )
    for question in authors.questions_file(PROMPT).items[0].questions:
        assert question in unescape(page)
    assert page.count('<tr class="bad">') == 5 and "frame 5: something emerged" in page


def test_one_bad_video_is_one_failed_row(folder: Path, tmp_path: Path):
    """What the strict reading refuses a folder for."""
    verified, persistence = ([], [])
    (good,) = json.loads((folder / authors.VERIFICATION_FILE).read_text())
    (frames,) = json.loads((folder / authors.PERSISTENCE_FILE).read_text())
    answers = good["items"][0]["question_verification_results"]

    def answered(*said: dict[str, Any], questions: Sequence[str] = ()) -> dict[str, Any]:
        item = good["items"][0] | {"question_verification_results": said}
        return {"items": [item | ({"questions": questions} if questions else {})]}

    odd: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
        "short": (answered(*answers[1:]), {}, "no answer to Q1: have it judged again"),
        "silent": (answered(*answers[1:], answers[0] | {"answer": "maybe"}), {}, "question_verification.json: items"),
        "broken": ({}, {"hallucination_results": [{"frame_idx": 5, "emergence": "error"}]}, "_emergence_disappearance"),
        "empty": ({}, {"hallucination_results": []}, "no frame was held against frame 0"),
        "other": (answered(*answers, questions=["Is it raining?"] * 10), {}, "was asked other questions"),
    }
    for name, (said, seen, _) in odd.items():
        verified.append(good | said | {"video_id": name})
        persistence.append(frames | seen | {"video_id": name})
    verified += [good, good | {"video_id": "twice"}, good | {"video_id": "twice"}, good | {"video_id": "alone"}, "text"]
    persistence += [frames, frames | {"video_id": "twice"}]
    write_json(folder / authors.VERIFICATION_FILE, verified)
    write_json(folder / authors.PERSISTENCE_FILE, persistence)
    authors.write_questions(folder, [PROMPT.model_copy(update={"video": f"{name}.mp4"}) for name in ("000", "other")])
    (folder / authors.QUESTIONS_FOLDER / "torn.json").write_text("{")
    found, said = judged(folder, tmp_path / "out")
    assert list(found["by_video"]) == ["000"] and found["means"]["if_score"]["mean"] == 0.1875
    told = {name: why for name, (_, _, why) in odd.items()} | {
        "twice": "is in question_verification.json twice",
        "alone": "no answer in _emergence_disappearance.json",
        "question_verification.json, entry 10": "question_verification.json: ",
        "torn": "questions/torn.json: Invalid JSON",
    }
    assert found["failed"].keys() == told.keys()
    for name, why in told.items():
        assert why in found["failed"][name], (name, found["failed"][name])
        assert f"not judged: {name}: " in said
    with pytest.raises(UserError):
        score_theirs(folder)
    (folder / authors.VERIFICATION_FILE).write_text("{}")
    with pytest.raises(UserError, match=r"question_verification\.json: "):
        judged(folder, tmp_path / "out")


def test_questions_of_videos_that_are_gone_go(folder: Path):
    authors.write_questions(folder, [PROMPT.model_copy(update={"video": "001.mp4"})])
    assert list(read_questions(folder)) == ["001"]


def test_answers_of_two_judges_or_to_other_questions_are_no_result(folder: Path, tmp_path: Path):
    path = folder / authors.QUESTIONS_FOLDER / "000.json"
    told = json.loads(path.read_text())
    told["items"][0]["questions"][0] = "Is it raining?"
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match="the first: 000: was asked other questions than questions/ has"):
        judged(folder, tmp_path / "out")
    path.unlink()
    with pytest.raises(UserError, match="--judge files reads what"):
        judged(folder, tmp_path / "out", prompts=path)
    for file in (authors.VERIFICATION_FILE, authors.PERSISTENCE_FILE):
        (video,) = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps([video, video | {"video_id": "001", "model_used": "k"}]))
    with pytest.raises(UserError, match=r"is by several judges \(j, k\)"):
        judged(folder, tmp_path / "out")
