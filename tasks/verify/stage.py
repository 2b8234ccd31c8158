"""Stage `verify`: one verified box per ID, where the tracker starts (paper §3.2, App. A.2).

Per ID the candidates of its class go to the verifier by falling confidence, and the first verified box is the ID's
anchor. Verification is one-to-one: a box accepted for one ID is out of reach for all other IDs of its class.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from schemas import (
    Box,
    Candidate,
    Captioned,
    Dropped,
    Instance,
    Interaction,
    Proposed,
    Reason,
    Row,
    Verified,
)
from tasks.engines.base import Frames, Verifier
from tasks.errors import Reject, gravest
from tasks.outcome import Case, settle_async
from tasks.propose.stage import named_instances
from tasks.spec import StageSpec
from tasks.verify.search import Search
from tasks.verify.settings import VerifySettings


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
    search = Search(
        verifier=verifier,
        settings=settings,
        frames=dict(zip(wanted, sampled, strict=True)),
        instances=named_instances(captioned),
        pools=pools,
    )
    await search.run()
    return _decide(captioned, search)


def _decide(captioned: Captioned, search: Search) -> Verified:
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


def _why_lost(instance: Instance, search: Search) -> str:
    pool = len(search.pools[instance.cls])
    if pool == 0:
        return f"{instance.noun}: the detector found no {instance.cls}"
    return f"{instance.noun}: none of {search.tried[instance.id]} candidates tried was verified, {pool} proposed"


def _ends_lost(act: Interaction, lost: dict[str, str]) -> str:
    return ", ".join(end for end in (act.subject, act.object) if end in lost) + " without a box"


def _lines(verified: Verified) -> list[str]:
    return [
        f"{a.id}: anchor at frame {a.frame}, {_place(a.box)}, detector {a.score:.2f}, verifier {a.confidence:.2f}"
        for a in verified.anchors
    ]


def _tried(verified: Verified) -> list[str]:
    """What the verifier said of every box that was tried and is on record."""
    return [
        f"tried for {v.asked}: {v.candidate.noun} at frame {v.candidate.frame}, {_place(v.candidate.box)}, "
        f"detector {v.candidate.score:.2f} → {v.assigned_id or 'none'} {v.confidence:.2f}: {v.rationale}"
        for v in verified.verdicts
    ]


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
    more=_tried,
)
