"""A detector, a verifier and a tracker that know the truth, each with a dial for how often it errs.

They prove the logic around the models, never a model. They stand in no registry: users cannot ask for them. Whether
one errs is drawn from names (seed, purpose, clip, frame, instance), so neither order nor threads change it.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from schemas import Anchor, Box, Track
from schemas.base import InstanceId
from tasks.engines.base import Frames, Proposal, VerdictReply, VerifyRequest
from tests.tasks.engines.perfect.drifts import KINDS, Drift, drift_of
from tests.tasks.engines.perfect.oracle import Oracle, Scene


@dataclass(frozen=True)
class Dial:
    """Chances of each error; all zero is perfect."""

    missed: float = 0.0
    """A thing in a frame gets no box."""
    swapped: float = 0.0
    """Where a thing of its class stands in the frame too, that one's box is given in place of a thing's own."""
    wrong: float = 0.0
    """A verdict is any but the right one."""
    drifted: float = 0.0
    """A track drifts, if its kind of drift can be had in the clip."""
    drift: str = "slide"
    """Which of `drifts.KINDS`."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.drift not in KINDS:
            raise ValueError(f"no drift is called {self.drift!r}")

    def roll(self, *names: object) -> random.Random:
        return random.Random("/".join(map(str, (self.seed, *names))))

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in asdict(self).items())


NO_ERROR = Dial()


@dataclass(frozen=True)
class PerfectDetector:
    """True boxes of a noun's class; those of which most is to be seen rank first."""

    oracle: Oracle
    dial: Dial = NO_ERROR

    @property
    def identity(self) -> str:
        return f"perfect-detector/1 {self.dial}"

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        proposals = []
        for k, frame in enumerate(frames):
            scene, t = self.oracle.find(frame)
            for noun in nouns:
                found = [
                    Proposal(k, noun, box, score)
                    for i in scene.truth.instances
                    if i.cls == noun and (seen := self._look(scene, t, i.id)) is not None
                    for box, score in [seen]
                ]
                proposals += sorted(found, key=lambda p: -p.score)[:limit]
        return proposals

    def _look(self, scene: Scene, t: int, who: InstanceId) -> tuple[Box, float] | None:
        """The box given for an instance, and its score."""
        own = scene.box(who, t)
        if own is None or self.dial.roll("missed", scene.name, t, who).random() < self.dial.missed:
            return None
        largest = max(scene.size(who, f) for f in range(scene.clip.frames))
        score = 0.4 + 0.5 * scene.size(who, t) / largest
        roll = self.dial.roll("swapped", scene.name, t, who)
        others = [box for i in scene.alike(who) if (box := scene.box(i, t)) is not None]
        if others and roll.random() < self.dial.swapped:
            return roll.choice(others), score
        return own, score


@dataclass(frozen=True)
class PerfectVerifier:
    """Says which caption ID a box shows, by the true boxes of the frame."""

    oracle: Oracle
    dial: Dial = NO_ERROR

    @property
    def identity(self) -> str:
        return f"perfect-verifier/1 {self.dial}"

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        scene, t = self.oracle.find(request.frame)
        wanted = [c.id for c in request.candidates]
        shown = scene.shown(request.box, t, request.noun)
        name = scene.names.get(shown) if shown else None
        answer = name if name in wanted else None
        roll = self.dial.roll("wrong", scene.name, t, request.box, *wanted)
        if roll.random() < self.dial.wrong:
            answer = roll.choice([other for other in (None, *wanted) if other != answer])
        return VerdictReply(assigned_id=answer, confidence=0.9, rationale="by the truth")


@dataclass(frozen=True)
class BlindVerifier:
    """Takes every box for the first ID in question: what comes of a detector that nobody checks."""

    @property
    def identity(self) -> str:
        return "blind-verifier/1"

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        return VerdictReply(assigned_id=request.candidates[0].id, confidence=0.9, rationale="not looked at")


@dataclass(frozen=True)
class PerfectTracker:
    """True masks of the instance that the anchor box shows; no masks where it shows none."""

    oracle: Oracle
    dial: Dial = NO_ERROR

    @property
    def identity(self) -> str:
        return f"perfect-tracker/1 {self.dial}"

    def propagate(self, frames: Frames, anchors: Sequence[Anchor]) -> list[Track]:
        scene = self.oracle.scene(frames)
        return [self._track(scene, anchor) for anchor in anchors]

    def _track(self, scene: Scene, anchor: Anchor) -> Track:
        who = scene.shown(anchor.box, anchor.frame)
        drift = self.drift(scene, anchor)
        if who is None:
            masks: tuple[str | None, ...] = (None,) * scene.clip.frames
        elif drift is not None:
            masks = drift.masks(scene)
        else:
            masks = tuple(scene.rle(who, t) for t in range(scene.clip.frames))
        return Track(id=anchor.id, masks=masks)

    def drift(self, scene: Scene, anchor: Anchor) -> Drift | None:
        """How the track of this anchor drifts, if it does."""
        who = scene.shown(anchor.box, anchor.frame)
        roll = self.dial.roll("drifted", self.dial.drift, scene.name, anchor.id)
        if who is None or roll.random() >= self.dial.drifted:
            return None
        return drift_of(self.dial.drift, scene, who, anchor.frame, roll)
