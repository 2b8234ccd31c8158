"""The two steps that must see everything at once: which files are which content, and which clips are near-duplicates.

Both decide in a fixed order over all that is new, so that a build that was killed and resumed decides the same.
"""

import time
from collections.abc import Sequence
from typing import Any

from flows.context import Plan
from schemas import Reason, Row
from tasks.dedupe.stage import dedupe
from tasks.select.names import Names
from tasks.select.sidecar import Captions, load_captions
from tasks.select.stage import select, videos_of

SEEN = "captions.sha256"
"""Beside the rows of select: digest of the caption table they were made with."""

BY_TABLE = (
    Reason.NO_CAPTION, Reason.BAD_CAPTION, Reason.NO_VIDEO, Reason.CHANGED_CAPTION, Reason.SHARED_CAPTION,
)  # fmt: skip
"""Verdicts that another caption table may lift."""


def captions_of(plan: Plan, names: Names | None = None) -> Captions:
    """The caption table, or an empty one; with the names of all videos, without most rows that mean none of them."""
    s = plan.settings
    return Captions() if s.captions is None else load_captions(s.captions, s.sidecar, s.scan.storage_options, names)


def run_select(plan: Plan) -> None:
    """Decide on all hashed files that have no row yet, and on captions without a video."""
    scan, store, began = plan.store("scan"), plan.store("select"), time.perf_counter()
    hashed = {row.key: row.payload for rows in scan.scan() for row in rows if row.payload}
    known = [row.payload for rows in store.scan() for row in rows if row.payload]
    videos = videos_of(list(hashed.items()), known, plan.listing.values(), hashed.values())
    captions = captions_of(plan, Names(video.name for video in videos))
    digest = captions.digest.encode()
    changed = not store.folder.exists(SEEN) or store.folder.read(SEEN) != digest
    if changed:
        store.forget([k for k, reason in store.rejected().items() if reason in BY_TABLE])
    new = [(key, hashed[key]) for key in store.pending(scan.accepted())]
    if not new and not changed:
        return
    rows = select(new, known, captions, plan.settings.select, plan.listing.values(), hashed.values())
    now = {row.key for row in rows}
    # Videos have come since for these captions, or their number is another.
    store.forget([k for k, reason in store.rejected().items() if reason in BY_TABLE and k not in now | hashed.keys()])
    store.write(_timed([row for row in rows if row.key not in store], began))
    store.folder.write(SEEN, digest)


def run_dedupe(plan: Plan) -> None:
    """Compare all new clips with those accepted before and with each other."""
    store, began = plan.store("dedupe"), time.perf_counter()
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
    store.write(_timed(dedupe(new, known, plan.settings.dedupe), began))


def _timed(rows: Sequence[Row[Any]], began: float) -> list[Row[Any]]:
    """The rows with an equal share each of the time since `began`: no row of these steps is made on its own."""
    seconds = (time.perf_counter() - began) / max(len(rows), 1)
    return [row.model_copy(update={"seconds": seconds}) for row in rows]
