"""The judge that looks, over the pipeline's real client and a server whose answers a test decides."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_train.evaluate.judge.by_truth import prompt_of
from matrix_train.evaluate.judge.by_vlm import VlmJudge
from matrix_train.evaluate.protocol.scores import Judged
from tasks.engines.base import BadReply
from tasks.engines.served.verifier import ServedVerifier
from tasks.store.folder import Folder
from tests.matrix_train.evaluate.made_up import pushed
from tests.tasks.engines.served.fault_server import Asked, FaultServer, said

FRAMES = [0, 5, 10]
PICTURES = [np.full((64, 96, 3), 40 * k, np.uint8) for k in range(3)]


def good(document: dict[str, Any]) -> dict[str, Any]:
    """All yes, and a box lost in frame 10."""
    if "questions" not in document:
        frames = [{"frame_index": f, "emergence": "no", "disappearance": "yes" if f == 10 else "no"} for f in (5, 10)]
        return {"nonce": document["nonce"], "frames": frames, "emergence_reason": "", "disappearance_reason": "gone"}
    answers = [{"question_id": q["question_id"], "answer": "yes", "frame_index": 5} for q in document["questions"]]
    return {"nonce": document["nonce"], "answers": answers}


Judge = Callable[[Callable[[dict[str, Any]], Any]], Judged]


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[tuple[Judge, list[dict[str, Any]]]]:
    """judged(script): the video as a scripted model sees it; and the documents that it was given."""
    documents: list[dict[str, Any]] = []

    def run(script: Callable[[dict[str, Any]], Any]) -> Judged:
        def answer(asked: Asked) -> Any:
            documents.append(asked.document)
            assert sum(p["type"] == "image_url" for p in asked.parts) == 3
            told = script(asked.document)
            return said(told if isinstance(told, str) else json.dumps(told))

        with FaultServer(answer) as server:
            engine = ServedVerifier(ServedVerifier.Options(base_url=server.url), Folder(str(tmp_path / "replies")))
            try:
                return asyncio.run(VlmJudge(engine).judge(prompt_of(pushed()), FRAMES, PICTURES))
            finally:
                engine.close()

    yield run, documents


def test_answers_and_checks_are_the_models(judged: tuple[Judge, list[dict[str, Any]]]):
    run, documents = judged
    found = run(good)
    assert found.scores.kisa_raw == 1
    assert [(c.frame_idx, c.emergence, c.disappearance) for c in found.checks] == [(5, False, False), (10, False, True)]
    assert found.scores.spi == (1 + (1 - 5 / 2)) / 2
    assert documents[0]["frames"] == FRAMES
    assert documents[0]["boxes"][1] == {"colour": "green", "class": "box", "instance": "red box"}


def mend(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Wrong in this way the first time, then good."""

    def script(document: dict[str, Any]) -> Any:
        return good(document) if "problem" in document or "questions" not in document else change(good(document))

    return script


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r | {"answers": r["answers"][:9]}, "one to each of 1 to 10"),
        (lambda r: r | {"answers": [*r["answers"], r["answers"][3]]}, "one to each of 1 to 10"),
        (lambda r: r | {"answers": r["answers"][::-1]}, "in that order"),
        (lambda r: r | {"answers": [a | {"frame_index": 7} for a in r["answers"]]}, "none of the frames"),
        (lambda r: r | {"answers": [a | {"frame_index": None} for a in r["answers"]]}, "a yes needs the frame"),
        (lambda r: r | {"answers": [a | {"answer": "ja"} for a in r["answers"]]}, "answer"),
        (lambda r: "I am sorry, I cannot judge people.", ""),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_asked_again(
    judged: tuple[Judge, list[dict[str, Any]]], change: Callable[[dict[str, Any]], Any], told: str
):
    run, documents = judged
    assert run(mend(change)).scores.sgi_raw == 1
    assert len(documents) == 3 and told in json.dumps(documents[1]["problem"])


def test_a_frame_left_out_is_asked_for_again(judged: tuple[Judge, list[dict[str, Any]]]):
    run, documents = judged

    def script(document: dict[str, Any]) -> Any:
        reply = good(document)
        return reply if "questions" in document or "problem" in document else reply | {"frames": reply["frames"][:1]}

    assert run(script).scores.spi == (1 + (1 - 5 / 2)) / 2
    assert "one entry for each of [5, 10]" in json.dumps(documents[2]["problem"])


def test_a_judge_that_never_answers_scores_nothing(judged: tuple[Judge, list[dict[str, Any]]]):
    run, documents = judged
    with pytest.raises(BadReply, match="3 answers"):
        run(lambda document: "No.")
    assert len(documents) == 3
