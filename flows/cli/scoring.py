"""`matrix_data score`: walks the store and hands each clip, with whatever stages it reached, to the metrics."""

from collections.abc import Iterator
from pathlib import Path

from flows.context import CHAIN, FIELDS, Plan, plan_of
from flows.intake import captions_of
from schemas import Reason
from tasks.outcome import Case
from tasks.select.stage import caption_key
from tasks.world import load_truth
from tasks.world.score.score import Score, score


def score_build(out: str, truth: Path) -> Score:
    """Score of the build under `out` against the truth rendered into `truth`."""
    plan = plan_of(out)
    return score(reached(plan), load_truth(truth), outcomes(plan))


def reached(plan: Plan) -> Iterator[Case]:
    """Every clip that passed dedupe, with the records of the stages that accepted it, one at a time."""
    links = plan.store("ingest").links()
    for clip_id in plan.store("dedupe").accepted():
        (made,) = plan.store("ingest").payloads([links[clip_id]])
        clip = next(c for c in made.clips if c.clip_id == clip_id)
        records = {}
        for stage in CHAIN:
            if not plan.store(stage).accepted_of([clip_id]):
                break
            records[FIELDS[stage]] = plan.store(stage).payloads([clip_id])[0]
        yield Case(clip=clip, **records)


def outcomes(plan: Plan) -> dict[str, str]:
    """How each file ended, by name: 'accept', 'pending', or the reason code of the stage that rejected it.

    A file with several clips ends as the one that came furthest. Captions without a video stand under their own name.
    """
    scan, select, ingest = plan.store("scan"), plan.store("select"), plan.store("ingest")
    ends = {row.name: str(Reason.NO_VIDEO) for row in captions_of(plan).rows if caption_key(row) in select}
    sources = {file: source for source, file in select.links().items()}
    clips: dict[str, list[str]] = {}
    for clip, source in ingest.links().items():
        clips.setdefault(source, []).append(clip)
    for key, found in plan.listing.items():
        source = sources.get(key, "")
        ended = scan.reason_of(key) or select.reason_of(key) or ingest.reason_of(source)
        ends[found.name] = (
            ended or max((_clip_end(plan, clip) for clip in clips.get(source, [])), default=(0, "pending"))[1]
        )
    return ends


def _clip_end(plan: Plan, clip: str) -> tuple[int, str]:
    """How many stages the clip passed, and how it ended."""
    for passed, stage in enumerate(("dedupe", *CHAIN)):
        store = plan.store(stage)
        if clip not in store:
            return passed, "pending"
        reason = store.reason_of(clip)
        if reason:
            return passed, reason
    return 1 + len(CHAIN), "accept"
