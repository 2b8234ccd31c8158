"""The walk through the candidates of one clip: which box is put to the verifier next, and what its verdict comes to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas import Anchor, Box, Candidate, Instance, Verdict
from tasks.engines.base import BadReply, VerdictReply, Verifier, VerifiesSeveral, VerifyRequest
from tasks.verify.settings import VerifySettings


@dataclass(frozen=True)
class Asked:
    """A box that is put to the verifier."""

    instance: Instance
    """For whom it is tried."""
    candidate: Candidate
    rivals: tuple[Instance, ...]
    """The IDs of the class that still want an anchor."""


def _bad(why: str) -> VerdictReply:
    return VerdictReply(assigned_id=None, confidence=0.0, rationale=f"bad reply: {why}")


def _refused(reply: VerdictReply, why: str) -> VerdictReply:
    return VerdictReply(assigned_id=None, confidence=reply.confidence, rationale=f"{why}: {reply.rationale}")


@dataclass
class Search:
    """The walk through the candidates of one clip."""

    verifier: Verifier
    settings: VerifySettings
    frames: dict[int, NDArray[np.uint8]]
    instances: tuple[Instance, ...]
    pools: dict[str, list[Candidate]]
    anchors: dict[str, Anchor] = field(default_factory=dict)
    accepted: dict[str, list[Candidate]] = field(default_factory=dict)
    """Boxes that are an anchor by now, per class."""
    verdicts: list[Verdict] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)
    asked: set[tuple[Candidate, tuple[str, ...]]] = field(default_factory=set)

    async def run(self) -> None:
        """Fill `anchors`: ID by ID in their order, or several boxes a request where the verifier takes them."""
        if isinstance(self.verifier, VerifiesSeveral) and self.verifier.several > 1:
            await self._run_several(self.verifier, self.verifier.several)
            return
        for instance in self.instances:
            for asked in self._walk(instance, 1):
                for one in asked:
                    self._take(one, await self._verdict(one))

    async def _run_several(self, verifier: VerifiesSeveral, most: int) -> None:
        """Classes never meet: each goes its own way, ID by ID, and one request holds the next boxes of all of them."""
        classes = dict.fromkeys(i.cls for i in self.instances)
        each = max(1, most // len(classes))
        ways = [self._walk_all([i for i in self.instances if i.cls == cls], each) for cls in classes]
        while asked := [one for way in ways for one in next(way, ())]:
            for at in range(0, len(asked), most):
                some = asked[at : at + most]
                for one, verdict in zip(some, await self._verdicts(verifier, some), strict=True):
                    self._take(one, verdict)

    def _walk_all(self, instances: Sequence[Instance], each: int) -> "Iterator[list[Asked]]":
        for instance in instances:
            yield from self._walk(instance, each)

    def _walk(self, instance: Instance, each: int) -> "Iterator[list[Asked]]":
        """The boxes to be tried for an ID, `each` at a time; what came of them is known when the next are wanted."""
        self.tried.setdefault(instance.id, 0)
        waiting: list[Asked] = []
        for candidate in self.pools[instance.cls]:
            tried = self.tried[instance.id] + len(waiting)
            if instance.id in self.anchors or tried >= self.settings.max_verdicts_per_id:
                break
            # An ID that found nothing stays on the list: its box must not go to its neighbour.
            rivals = tuple(i for i in self.instances if i.cls == instance.cls and i.id not in self.anchors)
            question = (candidate, tuple(i.id for i in rivals))
            if self._taken(candidate) or question in self.asked:
                continue
            self.asked.add(question)
            waiting.append(Asked(instance, candidate, rivals))
            if len(waiting) == each:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _taken(self, candidate: Candidate) -> bool:
        return any(
            other.frame == candidate.frame and other.box.iou(candidate.box) >= self.settings.exclusion_iou
            for other in self.accepted.get(candidate.noun, ())
        )

    def _request(self, asked: "Asked") -> VerifyRequest:
        frame = self.frames[asked.candidate.frame]
        return VerifyRequest(
            frame=frame,
            crop=padded_crop(frame, asked.candidate.box, self.settings.crop_padding),
            box=asked.candidate.box,
            noun=asked.instance.cls,
            candidates=asked.rivals,
        )

    async def _verdict(self, asked: "Asked") -> VerdictReply:
        try:
            return await self.verifier.verify(self._request(asked))
        except BadReply as bad:
            return _bad(str(bad))

    async def _verdicts(self, verifier: VerifiesSeveral, asked: "Sequence[Asked]") -> list[VerdictReply]:
        try:
            found = await verifier.verify_several([self._request(one) for one in asked])
        except BadReply as bad:
            return [_bad(str(bad))] * len(asked)
        if len(found) != len(asked):
            raise ValueError(f"the verifier gave {len(found)} verdicts on {len(asked)} boxes")
        return found

    def _take(self, asked: "Asked", reply: VerdictReply) -> None:
        """Put a verdict on record, and an anchor where it gives one: one box an ID, one ID a box."""
        instance, candidate = asked.instance, asked.candidate
        self.tried[instance.id] += 1
        if reply.assigned_id is not None and reply.assigned_id not in {r.id for r in asked.rivals}:
            reply = _bad(f"named {reply.assigned_id}, which was not asked: {reply.rationale}")
        # Another box of the same request may have been first.
        elif reply.assigned_id in self.anchors:
            reply = _refused(reply, f"{reply.assigned_id} has its box by now")
        elif reply.assigned_id is not None and self._taken(candidate):
            reply = _refused(reply, "the box is another ID's by now")
        verdict = Verdict(
            asked=instance.id,
            candidate=candidate,
            assigned_id=reply.assigned_id,
            confidence=reply.confidence,
            rationale=reply.rationale[:2000],
        )
        self.verdicts.append(verdict)
        if self._gave_anchor(verdict):
            assert verdict.assigned_id is not None
            self.accepted.setdefault(candidate.noun, []).append(candidate)
            self.anchors[verdict.assigned_id] = Anchor(
                id=verdict.assigned_id,
                frame=candidate.frame,
                box=candidate.box,
                score=candidate.score,
                confidence=verdict.confidence,
            )

    def kept_verdicts(self) -> tuple[Verdict, ...]:
        """In the order they fell; over the limit, the last refusals go first."""
        gave = [self._gave_anchor(v) for v in self.verdicts]
        room = max(0, self.settings.keep_verdicts - sum(gave))
        kept = []
        for verdict, is_anchor in zip(self.verdicts, gave, strict=True):
            if is_anchor or room > 0:
                kept.append(verdict)
            if not is_anchor:
                room -= 1
        return tuple(kept)

    def _gave_anchor(self, verdict: Verdict) -> bool:
        return verdict.assigned_id is not None and verdict.confidence >= self.settings.min_confidence


def padded_crop(frame: NDArray[np.uint8], box: Box, padding: float) -> NDArray[np.uint8]:
    """The box with a margin of `padding` times its sides on each, cut at the frame's edge: RGB uint8 [h, w, 3]."""
    height, width = frame.shape[:2]
    dx, dy = padding * (box.x1 - box.x0), padding * (box.y1 - box.y0)
    x0, y0 = max(0, int(box.x0 - dx)), max(0, int(box.y0 - dy))
    x1, y1 = min(width, int(np.ceil(box.x1 + dx))), min(height, int(np.ceil(box.y1 + dy)))
    return frame[y0:y1, x0:x1]
