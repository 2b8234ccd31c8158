"""People's labels beside a finished dataset, `review.parquet`: what was said of samples since they were sharded.

No shard is rewritten for it. A row a track, with the mended masks where there are any; a reader that knows nothing of
the file sees the dataset as it was.
"""

import hashlib
import io
import json

import pyarrow.parquet as pq

from schemas import Curated, Deduped
from schemas.arrow import to_table
from schemas.review import REVIEW_FILE, Label, Reviewed
from tasks.errors import Reject
from tasks.outcome import Case
from tasks.review.journal import Journal, begun
from tasks.review.patches import Decide
from tasks.review.words import Reviewable, Said
from tasks.spec import Whole

SIGNATURE = b"matrix.state"
"""Key in the footer: over which decisions the file was written."""

_STAGES = ("dedupe", "caption", "verify", "track", "curate")


def write_sidecar(work: Whole, journal: Journal) -> int:
    """Write the labels of all samples that people have finished with; returns how many tracks have one."""
    clips = _sharded(work, journal)
    if not clips:
        return 0
    labels = [label for clip in clips for label in labels_of(work, journal, clip)]
    table = to_table(labels, Label).replace_schema_metadata({SIGNATURE: _signature(journal, clips)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    work.dataset.write(REVIEW_FILE, buffer.getvalue())
    return len(labels)


def outdated(work: Whole) -> bool:
    """Whether people have said more than the file holds, or clips wait for them still."""
    if work.settings.wait and len(work.store()) < len(work.store("curate").accepted()):
        return True
    with begun(work.folder, work.settings.journal) as journal:
        if journal is None:
            return False
        clips = _sharded(work, journal)
        wanted = _signature(journal, clips)
    if not clips:
        return False
    try:
        with work.dataset.open(REVIEW_FILE) as stream:
            found = (pq.read_schema(stream).metadata or {}).get(SIGNATURE, b"").decode()
    except FileNotFoundError:
        found = ""
    return bool(found != wanted)


def labels_of(work: Whole, journal: Journal, clip: str) -> list[Label]:
    """A row a track; none while the clip waits for somebody. Lapsed decisions are told apart by `applies`."""
    payloads = [work.store(stage).payloads([clip])[0] for stage in _STAGES]
    cut = payloads[0]
    assert isinstance(cut, Deduped)
    seen = Reviewable(Case(cut.clip, tuple(payloads[1:])))
    said = Said.of(journal, clip, journal.users())
    outcome = seen.outcome(said, work.settings.second_share, work.settings.seed)
    height, width = seen.size
    if outcome.word is None:
        return [
            Label(
                key=clip, id=patch.op.id, clip="keep", decision=patch.op.decision, reason=patch.op.reason, by=who,
                at=patch.at, applies=False, height=height, width=width,
            )
            for who, patches in said.patches.items()
            for patch in patches
            if isinstance(patch.op, Decide) and patch.op.decision
            if patch.tracks.get(patch.op.id) != seen.digests.get(patch.op.id)
        ]  # fmt: skip
    word = outcome.word
    try:
        reviewed = seen.reviewed(said, outcome, work.settings.max_same_class_iou)
    except Reject:
        reviewed = None
    held = work.store("review").payloads([clip])[0]
    assert isinstance(held, Reviewed)
    now, shard = ({**seen.masks, **{t.id: t.masks for t in one.tracks}} if one else {} for one in (reviewed, held))
    kept = {one.id: one for one in reviewed.review} if reviewed else {}
    numbers = {one.id: one for one in reviewed.numbers} if reviewed else {}
    dropped = {drop.what: drop for drop in reviewed.dropped} if reviewed else {}
    labels = []
    for name in seen.case.of(Curated).ids:
        said_of, drop = word.state.decisions.get(name), dropped.get(name)
        reason = drop.reason if drop else said_of.reason if said_of else ""
        labels.append(
            Label(
                key=clip, id=name, clip="keep" if reviewed else "drop",
                decision=kept[name].decision if name in kept else "drop", reason=reason,
                detail=drop.detail if drop else "", by=word.reviewer, at=word.state.finished or 0.0, applies=True,
                height=height, width=width,
                masks=now[name] if name in kept and now[name] != shard[name] else (), numbers=numbers.get(name),
                interactions=reviewed.interactions if reviewed and name == reviewed.ids[0] else (),
            )
        )  # fmt: skip
    return labels


def _sharded(work: Whole, journal: Journal) -> list[str]:
    """The clips that people have said something of and that a shard holds."""
    shards = work.store("shard")
    return [clip for clip in journal.clips() if clip in shards]


def _signature(journal: Journal, clips: list[str]) -> str:
    return hashlib.sha256(json.dumps([(clip, journal.state(clip)) for clip in clips]).encode()).hexdigest()[:16]
