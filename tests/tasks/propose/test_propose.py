"""Stage `propose` alone: what a detector may answer, and what its settings may be. More is in tests/tasks/verify."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import ValidationError

from schemas import Box, Proposed, Row, Status
from tasks.engines.base import Frames, Proposal
from tasks.propose.stage import ProposeSettings, propose
from tests.tasks.grounding_cases import HEIGHT, TOTAL, WIDTH, make_case

FRAMES = np.zeros((TOTAL, HEIGHT, WIDTH, 3), dtype=np.uint8)


@dataclass
class Boxes:
    """A detector that answers this, whatever it is asked."""

    script: list[Proposal]
    identity: str = "scripted-detector"

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        return self.script


def run(*script: Proposal, **settings: int) -> Row[Proposed]:
    case = make_case({"id1": "man", "id2": "man"}, [("id1", "id2")])
    (row,) = propose([case], lambda _: FRAMES, Boxes(list(script)), ProposeSettings(**settings))
    return row


def man(frame: int = 0, x0: float = 4, y0: float = 10, x1: float = 12, y1: float = 18, score: float = 0.9) -> Proposal:
    return Proposal(frame, "man", Box(x0=x0, y0=y0, x1=x1, y1=y1), score)


@pytest.mark.parametrize("frame", [-1, 8, TOTAL - 1])
def test_a_frame_that_nobody_asked_about_is_a_failed_attempt(frame: int) -> None:
    row = run(man(), man(frame))
    assert row.status is Status.FAILED and f"frame {frame}" in row.detail
    assert run(man(), man(7)).status is Status.ACCEPTED


@pytest.mark.parametrize(("wide", "high", "kept"), [(1, 1, True), (0.9, 8, False), (8, 0.9, False)])
def test_a_box_is_at_least_a_pixel_wide_and_high(wide: float, high: float, kept: bool) -> None:
    row = run(man(), man(x0=30, x1=30 + wide, y1=10 + high, score=0.8))
    assert row.payload is not None
    assert [c.box.x0 for c in row.payload.candidates] == [4, 30][: 1 + kept]


def test_one_frame_and_one_box_are_enough_and_none_is_a_mistake() -> None:
    row = run(man(), man(x0=30, x1=38, score=0.8), frames=1, boxes=1)
    assert row.payload is not None
    assert row.payload.frames == (TOTAL // 2,) and len(row.payload.candidates) == 1
    for name in ("frames", "boxes"):
        with pytest.raises(ValidationError, match=name):
            ProposeSettings(**{name: 0})
