"""Propose with a scripted detector: what it is asked, what of its answer goes on record, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from schemas import Box, Reason, Status
from tasks.engines.base import Frames, Proposal
from tasks.outcome import Case
from tasks.propose.stage import ProposeSettings, propose, sample_frames
from tests.tasks.grounding_cases import HEIGHT, TOTAL, WIDTH, make_case

PAIR = {"id1": "man", "id2": "man"}


def box_at(x: float, y: float = 10.0, size: float = 8.0) -> Box:
    return Box(x0=x, y0=y, x1=x + size, y1=y + size)


@dataclass
class Boxes:
    """A detector that answers from a script, and remembers what it was asked."""

    script: list[Proposal]
    asked: list[tuple[tuple[str, ...], int, Frames]] = field(default_factory=list)
    identity: str = "scripted-detector"

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        self.asked.append((tuple(nouns), limit, frames))
        return self.script


def frames_of(_case: Case) -> Frames:
    """Frame n is filled with the value n."""
    return np.broadcast_to(np.arange(TOTAL, dtype=np.uint8)[:, None, None, None], (TOTAL, HEIGHT, WIDTH, 3))


def run(case: Case, detector: Boxes, **settings: int):  # type: ignore[no-untyped-def]
    (row,) = propose([case], frames_of, detector, ProposeSettings(**settings))
    return row


def test_the_detector_gets_the_sampled_frames_and_class_nouns_once_and_nothing_else() -> None:
    boxes = Boxes([Proposal(7, "man", box_at(4), 0.9)])
    row = run(make_case({**PAIR, "id3": "cup"}, [("id1", "id2"), ("id1", "id3")]), boxes)
    ((nouns, limit, frames),) = boxes.asked
    assert (nouns, limit) == (("man", "cup"), 5)
    assert frames[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14] == list(row.payload.frames)
    assert row.payload.candidates[0].frame == 14 and row.payload.detector == "scripted-detector"


@pytest.mark.parametrize(
    ("total", "count", "chosen"),
    [(49, 8, (0, 7, 14, 21, 27, 34, 41, 48)), (5, 8, (0, 1, 2, 3, 4)), (9, 1, (4,)), (9, 3, (0, 4, 8)), (2, 2, (0, 1))],
)
def test_frames_are_sampled_evenly(total: int, count: int, chosen: tuple[int, ...]) -> None:
    assert sample_frames(total, count) == chosen


def test_candidates_stand_noun_by_noun_by_falling_score_at_most_j_a_frame() -> None:
    script = [
        Proposal(0, "cup", box_at(30), 0.2), Proposal(0, "man", box_at(4), 0.5), Proposal(0, "man", box_at(20), 0.9),
        Proposal(1, "man", box_at(4), 0.5), Proposal(0, "man", box_at(12), 0.7), Proposal(0, "man", box_at(2), 0.5),
    ]  # fmt: skip
    row = run(make_case({"id1": "man", "id2": "cup"}, [("id1", "id2")]), Boxes(script), boxes=3)
    assert [(c.noun, c.frame, c.box.x0, c.score) for c in row.payload.candidates] == [
        ("man", 0, 20.0, 0.9), ("man", 0, 12.0, 0.7), ("man", 0, 2.0, 0.5), ("man", 2, 4.0, 0.5), ("cup", 0, 30.0, 0.2),
    ]  # fmt: skip


def test_boxes_are_cut_to_the_frame_and_specks_are_left_out() -> None:
    script = [
        Proposal(0, "man", Box(x0=-5, y0=-5, x1=12, y1=200), 1.5),
        Proposal(0, "man", Box(x0=WIDTH + 1, y0=0, x1=WIDTH + 9, y1=9), 0.9),
        Proposal(0, "man", Box(x0=30, y0=10, x1=50, y1=40), 0.8),
    ]
    first, second = run(make_case(PAIR, [("id1", "id2")]), Boxes(script)).payload.candidates
    assert first.box == Box(x0=0, y0=0, x1=12, y1=HEIGHT) and first.score == 1
    assert second.box.x0 == 30


@pytest.mark.parametrize("wrong", [Proposal(0, "zebra", box_at(4), 0.9), Proposal(8, "man", box_at(4), 0.9)])
def test_a_detector_that_answers_what_nobody_asked_is_a_failed_attempt(wrong: Proposal) -> None:
    row = run(make_case(PAIR, [("id1", "id2")]), Boxes([wrong]))
    assert row.status is Status.FAILED and "nobody asked" in row.detail


def test_a_clip_goes_where_every_interaction_lacks_an_end_and_not_before() -> None:
    case = make_case({"id1": "man", "id2": "cup", "id3": "dog"}, [("id1", "id2"), ("id1", "id3")])
    man, dog = Proposal(0, "man", box_at(4), 0.9), Proposal(0, "dog", box_at(30), 0.9)
    gone = run(case, Boxes([man]))
    assert (gone.status, gone.reason) == (Status.REJECTED, Reason.UNGROUNDED)
    assert "the detector found no cup, dog" in gone.detail
    assert run(case, Boxes([man, dog])).status is Status.ACCEPTED
