"""One Protocol per kind of model. A new backend is one new file that implements one of them.

Who an engine is, is said in three steps (docs/engines/README.md). Its options `declare` what settings alone say, which
is what the stage's fingerprint takes: another line means that the stage and all after it are done anew. An engine whose
settings leave something open has `resolved -> str`, what it found there, which the first run pins
(tasks/engines/pins.py). And `identity`, with package versions and the precision in use, goes into the rows.

An engine that cannot load raises UserError; a failure around it (server down, out of memory) raises
InfrastructureError. Engines are shared by threads. One that has something to load also has `check() -> str`, which
loads it, runs once, and says in a line what it is, and `release()`, which lets go of it until it is asked again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from schemas import Anchor, Box, Instance, Track
from schemas.base import InstanceId, Record, Share

Reply = TypeVar("Reply", bound=BaseModel)
Frames = NDArray[np.uint8]
"""RGB frames, uint8 [T, H, W, 3]."""


@dataclass(frozen=True)
class Message:
    """One chat message. Images are RGB uint8 [H, W, 3]. Data from outside stands only in `user` messages, as JSON."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[NDArray[np.uint8], ...] = field(default=(), compare=False)


class BadReply(Exception):
    """A reply that does not fit the schema. `raw` is what came back, cut to a sane length."""

    def __init__(self, problem: str, raw: str = "") -> None:
        super().__init__(problem)
        self.raw = raw[:4000]


class LanguageModel(Protocol):
    @property
    def identity(self) -> str: ...

    async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
        """The reply, validated as `schema`. Raises BadReply (ask again or reject) or InfrastructureError (retry)."""
        ...


class Captioner(Protocol):
    @property
    def identity(self) -> str: ...

    async def describe(self, frames: Frames, times: Sequence[float] = ()) -> str:
        """A dense caption of evenly sampled frames [T, H, W, 3], for videos that bring none.

        times: of each frame, in seconds from the clip's start.

        An engine asks again by itself where an answer does not hold, and raises BadReply where none did.
        """
        ...


@dataclass(frozen=True)
class VerifyRequest:
    """One candidate box put to the verifier (paper App. A.2)."""

    frame: NDArray[np.uint8]
    """RGB uint8 [H, W, 3], the whole frame."""
    crop: NDArray[np.uint8]
    """RGB uint8 [h, w, 3], the box padded by ~8 %."""
    box: Box
    noun: str
    candidates: tuple[Instance, ...]
    """The IDs of this class that still want an anchor, with their descriptors."""


class VerdictReply(Record):
    """What the verifier says: which ID the box shows, or none; conservative when in doubt."""

    assigned_id: InstanceId | None
    confidence: Share
    rationale: str


class Verifier(Protocol):
    @property
    def identity(self) -> str: ...

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        """The verdict. Asks again by itself where an answer does not hold, and raises BadReply where none did."""
        ...


@runtime_checkable
class VerifiesSeveral(Protocol):
    """A verifier that may be shown several boxes of one clip in one request."""

    @property
    def several(self) -> int:
        """Most boxes in a request; 1: `verify` is to be asked."""
        ...

    async def verify_several(self, requests: Sequence[VerifyRequest]) -> list[VerdictReply]:
        """A verdict per box, in their order, each as `verify` gives it; BadReply where no answer held for all."""
        ...


@dataclass(frozen=True)
class Proposal:
    """A box for a noun in one of the frames given to `propose`."""

    frame: int
    """Index into the frames given, not into the clip."""
    noun: str
    box: Box
    score: float


def ranked(found: Iterable[Proposal], nouns: Sequence[str]) -> list[Proposal]:
    """Confidence falling over all; ties by frame, by noun as they are asked, by place: top, left, bottom, right."""
    place = {noun: k for k, noun in reversed(list(enumerate(nouns)))}
    return sorted(found, key=lambda p: (-p.score, p.frame, place[p.noun], p.box.y0, p.box.x0, p.box.y1, p.box.x1))


class Detector(Protocol):
    @property
    def identity(self) -> str: ...

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        """At most `limit` boxes per frame and noun, in clip pixels, clipped to the frame, in the order of `ranked`.

        Frames may be none, nouns may be none, odd or said twice (they are then asked once). Frames are left as they
        are. The same question has the same answer.
        """
        ...


class Tracker(Protocol):
    @property
    def identity(self) -> str: ...

    def propagate(self, frames: Frames, anchors: Sequence[Anchor]) -> list[Track]:
        """One track per anchor, in their order, from the anchor frame both ways over all frames. Masks may overlap.

        A mask has the frame's size and shows at least a pixel, else it is None. A box is cut to the frame; one wholly
        outside of it has an empty track. Frames are left as they are. The same question has the same answer. ValueError
        where an anchor's frame is not in the clip.
        """
        ...
