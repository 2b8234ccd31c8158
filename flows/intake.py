"""The two steps that must see everything at once: which files are which content, and which clips are near-duplicates.

Both decide in a fixed order over all that is new, so that a build that was killed and resumed decides the same.
"""

from tasks.dedupe import dedupe
from tasks.select import select
from tasks.sidecar import Captions, load_captions

from flows.plan import Plan
from schemas import Reason


def captions_of(plan: Plan) -> Captions:
    """The caption table, or an empty one."""
    return load_captions(plan.settings.captions, plan.settings.sidecar)


def run_select(plan: Plan) -> None:
    """Decide on all hashed files that have no row yet, and on captions without a video."""
    scan, store = plan.store("scan"), plan.store("select")
    captions = captions_of(plan)
    # A caption that has come since, or a video for an orphan caption, lifts the old verdict.
    orphans = set(captions.orphans(f.name for f in plan.listing.values()))
    rejected = store.rejected()
    waiting = [k for k, reason in rejected.items() if reason == Reason.NO_CAPTION]
    files = dict(zip(waiting, scan.payloads(waiting), strict=True)) if waiting else {}
    store.forget(
        [k for k, f in files.items() if captions.has(f.name)]
        + [k for k, reason in rejected.items() if reason == Reason.NO_VIDEO and k not in orphans]
    )
    pending = store.pending(scan.accepted())
    if not pending and not store.pending(orphans):
        return
    new = list(zip(pending, scan.payloads(pending), strict=True))
    known = [row.payload for rows in store.scan() for row in rows if row.payload]
    store.write(select(new, known, captions, plan.settings.select))


def run_dedupe(plan: Plan) -> None:
    """Compare all new clips with those accepted before and with each other."""
    store = plan.store("dedupe")
    pending = set(store.pending(plan.upstream("dedupe")))
    if not pending:
        return
    accepted = set(store.accepted())
    new, known = [], []
    for rows in plan.store("ingest").scan():
        for row in rows:
            for clip in row.payload.clips if row.payload else ():
                if clip.clip_id in pending:
                    new.append(clip)
                elif clip.clip_id in accepted:
                    known.append(clip)
    store.write(dedupe(new, known, plan.settings.dedupe))
