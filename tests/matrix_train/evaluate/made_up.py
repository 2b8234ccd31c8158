"""Small truths made up for the judge: blocks that walk, touch and push on a field of 96 × 64."""

import numpy as np

from matrix_train.evaluate.checked.faults import encoded
from schemas import Span
from schemas.interaction import RoleSpans
from schemas.truth import TrueInstance, TrueTriplet, VideoTruth

HEIGHT, WIDTH, FRAMES = 64, 96, 31
MAN, BOX = "id1", "id2"
_SPANS = RoleSpans(subject=(Span(start=2, end=5),), verb=(Span(start=6, end=12),), object=(Span(start=15, end=18),))


def block(x: int, wide: int, tall: int) -> str | None:
    """Run lengths of a block that stands on row 56, its left side at x."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[56 - tall : 56, max(x, 0) : max(x + wide, 0)] = True
    return encoded(mask)


def instance(key: str, cls: str, places: list[int], wide: int, tall: int) -> TrueInstance:
    masks = tuple(block(x, wide, tall) for x in places)
    return TrueInstance(id=key, cls=cls, colour="red", phrase=f"red {cls}", mentions=(), masks=masks)


def pushed() -> VideoTruth:
    """A man walks up to a box for ten frames, and pushes it for twelve; then both stand."""
    touch, end = 10, 22
    man = [8 + 2 * min(f, touch) + 2 * (min(max(f, touch), end) - touch) for f in range(FRAMES)]
    box = [38 + 2 * (min(max(f, touch), end) - touch) for f in range(FRAMES)]
    act = TrueTriplet(
        subject=MAN, verb="push", object=BOX, spans=_SPANS, contact=5, dynamism=4, start_frame=touch, end_frame=end
    )
    return VideoTruth(
        video="pushed.mp4", seed=0, level="plain", width=WIDTH, height=HEIGHT, frames=FRAMES, fps=10.0,
        caption="A man pushes a box.", expect="accept", triplets=(act,),
        instances=(instance(MAN, "man", man, 10, 30), instance(BOX, "box", box, 12, 14)),
    )  # fmt: skip
