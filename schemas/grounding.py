"""Candidates, verdicts and anchors: how each ID got its box (paper §3.2, App. A.2)."""

from pydantic import Field, model_validator

from schemas.base import Count, InstanceId, Record, Share
from schemas.interaction import Dropped


class Box(Record):
    """Axis-aligned box `xyxy` in clip pixels; `x1` and `y1` are exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float

    @model_validator(mode="after")
    def _has_area(self) -> "Box":
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ValueError("a box must have an area")
        return self

    def iou(self, other: "Box") -> float:
        """Intersection over union of two boxes, 0 to 1."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        both = max(wide, 0.0) * max(high, 0.0)
        areas = ((box.x1 - box.x0) * (box.y1 - box.y0) for box in (self, other))
        return both / (sum(areas) - both)


class Candidate(Record):
    """One detector proposal for a class noun."""

    noun: str
    frame: Count
    box: Box
    score: Share


class Verdict(Record):
    """What the verifier said of a candidate that was tried for `asked`."""

    asked: InstanceId
    candidate: Candidate
    assigned_id: InstanceId | None = None
    confidence: Share
    rationale: str = Field(max_length=2000)


class Anchor(Record):
    """The first verified box of an ID; the tracker starts here."""

    id: InstanceId
    frame: Count
    box: Box
    score: Share = Field(description="the detector's confidence")
    confidence: Share = Field(description="the verifier's confidence")


class Proposed(Record):
    """Stage `propose`: where the detector sees things of the classes that the captions name."""

    frames: tuple[Count, ...] = Field(description="the T sampled frames")
    candidates: tuple[Candidate, ...] = Field(
        min_length=1, description="noun by noun; of one noun by falling confidence, ties by frame, then box"
    )
    detector: str


class Verified(Record):
    """Stage `verify`: one anchor per retained ID. `interactions` names what is still alive."""

    anchors: tuple[Anchor, ...] = Field(min_length=2)
    interactions: tuple[str, ...] = Field(min_length=1, description="texts of the retained interactions")
    verdicts: tuple[Verdict, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    verifier: str
