"""Stage `verify`: one verified box per ID, where the tracker starts (paper §3.2, App. A.2).

Per ID the candidates of its class go to the verifier by falling confidence, and the first verified box is the ID's
anchor. Verification is one-to-one: a box accepted for one ID is out of reach for all other IDs of its class.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schemas import (
    Anchor,
    Box,
    Candidate,
    Captioned,
    Dropped,
    Instance,
    Interaction,
    Proposed,
    Reason,
    Row,
    Verdict,
    Verified,
)
from schemas.settings import Settings
from tasks.engines.base import BadReply, Frames, Verifier, VerifyRequest
from tasks.errors import Reject, gravest
from tasks.outcome import Case, settle_async
from tasks.propose.stage import named_instances
from tasks.spec import StageSpec


class VerifySettings(Settings):
    """When a candidate counts as verified, and what goes with an ID that has none."""

    drop_policy: Literal["interaction", "clip"] = Field(
        default="interaction",
        description="an ID without a box takes its interactions with it (paper §3.2); 'clip' also gives up the whole "
        "clip when subject and object of one interaction are both without a box (App. A.2)",
    )
    min_confidence: float = Field(default=0.5, ge=0, le=1, description="least confidence of a verdict that counts")
    exclusion_iou: float = Field(
        default=0.7, gt=0, le=1, description="boxes of one frame and class that overlap this much are one box"
    )
    crop_padding: float = Field(
        default=0.08, ge=0, le=1, description="padding of the crop, as a share of the box's sides"
    )
    max_verdicts_per_id: int = Field(default=40, ge=1, description="candidates tried for one ID before it is given up")
    keep_verdicts: int = Field(
        default=256, ge=1, le=4096, description="verdicts kept in a record; those that gave an anchor always stay"
    )


def verify(
    cases: Sequence[Case],
    frames_of: Callable[[Case], Frames],
    verifier: Verifier,
    settings: VerifySettings,
    at_once: int = 4,
) -> Iterator[Row[Verified]]:
    """One row a case, in their order; they must carry `Captioned` and `Proposed`.

    frames_of: all frames of a clip, RGB uint8 [N, H, W, 3]. At most `at_once` clips wait for the verifier together.
    Rejects with UNGROUNDED. Where clips met an InfrastructureError or the like, the rows of all others come first, then
    the error, so that finished work is kept. Call it from a thread that runs no event loop.
    """
    with asyncio.Runner() as runner:
        room = asyncio.Semaphore(at_once)

        async def one(case: Case) -> Row[Verified]:
            async with room:
                return await settle_async(case.clip.clip_id, lambda: _verify_clip(case, frames_of, verifier, settings))

        loop = runner.get_loop()
        tasks = [loop.create_task(one(case)) for case in cases]
        failures: list[Exception] = []
        try:
            for task in tasks:
                try:
                    row = runner.run(_result(task))
                except Exception as error:
                    failures.append(error)
                else:
                    yield row
        finally:
            runner.run(_stop(tasks))
    if failures:
        raise gravest(failures)


async def _result(task: "asyncio.Task[Row[Verified]]") -> Row[Verified]:
    return await task


async def _stop(tasks: "list[asyncio.Task[Row[Verified]]]") -> None:
    """End what an early close of the generator has left under way."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _verify_clip(
    case: Case, frames_of: Callable[[Case], Frames], verifier: Verifier, settings: VerifySettings
) -> Verified:
    captioned, proposed = case.of(Captioned), case.of(Proposed)
    pools: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in proposed.candidates:
        pools[candidate.noun].append(candidate)
    wanted = sorted({c.frame for c in proposed.candidates})
    sampled = await asyncio.to_thread(lambda: frames_of(case)[wanted])  # a copy: the clip itself may go
    search = _Search(
        verifier=verifier,
        settings=settings,
        frames=dict(zip(wanted, sampled, strict=True)),
        instances=named_instances(captioned),
        pools=pools,
    )
    await search.run()
    return _decide(captioned, search)


@dataclass
class _Search:
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

    async def run(self) -> None:
        """Fill `anchors`, ID by ID in their order."""
        asked: set[tuple[Candidate, tuple[str, ...]]] = set()
        for instance in self.instances:
            self.tried.setdefault(instance.id, 0)
            for candidate in self.pools[instance.cls]:
                if instance.id in self.anchors or self.tried[instance.id] >= self.settings.max_verdicts_per_id:
                    break
                # An ID that found nothing stays on the list: its box must not go to its neighbour.
                rivals = tuple(i for i in self.instances if i.cls == instance.cls and i.id not in self.anchors)
                question = (candidate, tuple(i.id for i in rivals))
                if self._taken(candidate) or question in asked:
                    continue
                asked.add(question)
                await self._try(instance, candidate, rivals)

    def _taken(self, candidate: Candidate) -> bool:
        return any(
            other.frame == candidate.frame and iou(other.box, candidate.box) >= self.settings.exclusion_iou
            for other in self.accepted.get(candidate.noun, ())
        )

    async def _try(self, instance: Instance, candidate: Candidate, rivals: tuple[Instance, ...]) -> None:
        self.tried[instance.id] += 1
        frame = self.frames[candidate.frame]
        request = VerifyRequest(
            frame=frame,
            crop=padded_crop(frame, candidate.box, self.settings.crop_padding),
            box=candidate.box,
            noun=instance.cls,
            candidates=rivals,
        )
        try:
            reply = await self.verifier.verify(request)
            assigned, confidence, rationale = reply.assigned_id, reply.confidence, reply.rationale
        except BadReply as bad:
            assigned, confidence, rationale = None, 0.0, f"bad reply: {bad}"
        if assigned is not None and assigned not in {r.id for r in rivals}:
            assigned, confidence, rationale = (
                None,
                0.0,
                f"bad reply: named {assigned}, which was not asked: {rationale}",
            )
        verdict = Verdict(
            asked=instance.id,
            candidate=candidate,
            assigned_id=assigned,
            confidence=confidence,
            rationale=rationale[:2000],
        )
        self.verdicts.append(verdict)
        if assigned is not None and confidence >= self.settings.min_confidence:
            self.accepted.setdefault(candidate.noun, []).append(candidate)
            self.anchors[assigned] = Anchor(
                id=assigned, frame=candidate.frame, box=candidate.box, score=candidate.score, confidence=confidence
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


def _decide(captioned: Captioned, search: _Search) -> Verified:
    """What is left once the IDs without a box are gone. Raises Reject when that is nothing, or by the clip policy."""
    lost = {i.id: _why_lost(i, search) for i in search.instances if i.id not in search.anchors}
    why = "; ".join(f"{id_} ({detail})" for id_, detail in lost.items())
    if search.settings.drop_policy == "clip":
        for act in captioned.interactions:
            if act.subject in lost and act.object in lost:
                raise Reject(Reason.UNGROUNDED, f"subject and object of {act.text!r} without a box: {why}")
    alive = [act for act in captioned.interactions if act.subject not in lost and act.object not in lost]
    if not alive:
        raise Reject(Reason.UNGROUNDED, f"no interaction left: {why}")
    ends = {end for act in alive for end in (act.subject, act.object)}
    return Verified(
        anchors=tuple(search.anchors[i.id] for i in search.instances if i.id in ends),
        interactions=tuple(act.text for act in alive),
        verdicts=search.kept_verdicts(),
        dropped=(
            *(Dropped(what=id_, reason="ungrounded", detail=detail) for id_, detail in lost.items()),
            *(
                Dropped(what=act.text, reason="ungrounded", detail=_ends_lost(act, lost))
                for act in captioned.interactions
                if act not in alive
            ),
            *(
                Dropped(what=i.id, reason="no_interaction", detail="grounded, but its partners are not")
                for i in search.instances
                if i.id not in ends and i.id not in lost
            ),
        ),
        verifier=search.verifier.identity,
    )


def _why_lost(instance: Instance, search: _Search) -> str:
    pool = len(search.pools[instance.cls])
    if pool == 0:
        return f"{instance.noun}: the detector found no {instance.cls}"
    return f"{instance.noun}: none of {search.tried[instance.id]} candidates tried was verified, {pool} proposed"


def _ends_lost(act: Interaction, lost: dict[str, str]) -> str:
    return ", ".join(end for end in (act.subject, act.object) if end in lost) + " without a box"


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    wide = min(a.x1, b.x1) - max(a.x0, b.x0)
    high = min(a.y1, b.y1) - max(a.y0, b.y0)
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / ((a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - both)


def padded_crop(frame: NDArray[np.uint8], box: Box, padding: float) -> NDArray[np.uint8]:
    """The box with a margin of `padding` times its sides on each, cut at the frame's edge: RGB uint8 [h, w, 3]."""
    height, width = frame.shape[:2]
    dx, dy = padding * (box.x1 - box.x0), padding * (box.y1 - box.y0)
    x0, y0 = max(0, int(box.x0 - dx)), max(0, int(box.y0 - dy))
    x1, y1 = min(width, int(np.ceil(box.x1 + dx))), min(height, int(np.ceil(box.y1 + dy)))
    return frame[y0:y1, x0:x1]


def _lines(verified: Verified) -> list[str]:
    """Anchors, then what the verifier said of every box that was tried and is on record."""
    text = [
        f"{a.id}: anchor at frame {a.frame}, {_place(a.box)}, detector {a.score:.2f}, verifier {a.confidence:.2f}"
        for a in verified.anchors
    ]
    for v in verified.verdicts:
        c = v.candidate
        text.append(
            f"tried for {v.asked}: {c.noun} at frame {c.frame}, {_place(c.box)}, detector {c.score:.2f} → "
            f"{v.assigned_id or 'none'} {v.confidence:.2f}: {v.rationale}"
        )
    return text


def _place(box: Box) -> str:
    return f"box {box.x0:.0f},{box.y0:.0f}–{box.x1:.0f},{box.y1:.0f}"


SPEC = StageSpec(
    name="verify",
    settings=VerifySettings,
    record=Verified,
    needs=(Captioned, Proposed),
    engines=("verifier",),
    batch=lambda work, keys: verify(work.cases(keys), work.frames, work.engine("verifier"), work.settings),
    rejects={Reason.UNGROUNDED: "no interaction kept a verified box for both its ends"},
    lines=_lines,
)
