"""Stage `select`: one source per content, each with its caption (docs/stages/select.md).

A barrier: it runs when every new file has been hashed, because a duplicate or an ambiguous caption is known only then.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from schemas import Reason, SourceVideo
from tasks.select.deciding import SelectSettings, name_of, select
from tasks.select.names import Names
from tasks.select.sidecar import Captions, digest_of, load_captions
from tasks.spec import StageSpec, Whole
from tasks.store.chunks import StageView
from tasks.store.index import Link


class HashedFile(NamedTuple):
    """As it is held of every file at once."""

    uri: str
    name: str
    digest: str
    size_bytes: int


class KnownSource(NamedTuple):
    """As it is held of every source at once."""

    digest: str
    uris: Sequence[str]
    caption: str | None


SEEN = "captions.sha256"
"""Beside the rows of select: digest of the caption table that they were made with."""

BY_TABLE = (
    Reason.NO_CAPTION, Reason.BAD_CAPTION, Reason.NO_VIDEO, Reason.CHANGED_CAPTION, Reason.SHARED_CAPTION,
)  # fmt: skip
"""Verdicts that another caption table may lift."""


def captions_of(build: Any, names: Names | None = None) -> Captions:
    """The caption table that a build's settings name, or an empty one.

    names: of all videos; with them, most rows that mean none of them are left out.
    """
    if build.captions is None:
        return Captions()
    return load_captions(build.captions, build.sidecar, build.scan.storage_options, names)


def _digest(build: Any) -> bytes:
    return (
        b"" if build.captions is None else digest_of(build.captions, build.sidecar, build.scan.storage_options).encode()
    )


def _stale(work: Whole) -> bool:
    """Whether the caption table is another than the one that it was decided with."""
    seen = work.folder.below(f"{SPEC.name}/{work.fingerprints[SPEC.name]}")
    return not seen.exists(SEEN) or seen.read(SEEN) != _digest(work.build)


def _whole(work: Whole) -> list[str]:
    """Decide on all hashed files that have no row yet, and on captions without a video."""
    scan, store, began = work.store("scan"), work.store(), time.perf_counter()
    hashed, known = dict(_hashed(scan)), list(_known(store))
    names = itertools.chain(
        (file.name for file in work.listed()),
        (file.name for file in hashed.values()),
        (name_of(uri) for source in known for uri in source.uris),
    )
    digest = _digest(work.build)  # before it is read: what changes meanwhile is seen by the next build
    captions = captions_of(work.build, Names(names))
    changed = not store.folder.exists(SEEN) or store.folder.read(SEEN) != digest
    if changed:
        store.forget([k for k, reason in store.rejected().items() if reason in BY_TABLE])
    new = {key: hashed[key] for key in store.pending(hashed)}
    if not new and not changed:
        return []
    decided = select(new, known, captions, work.settings, work.listed(), hashed.values())
    now = {row.key for row in decided.captions}
    # Videos have come since for these captions, or their number is another.
    store.forget([k for k, reason in store.rejected().items() if reason in BY_TABLE and k not in now | hashed.keys()])
    # Chunks are cut in the order of sources; captions without a video come last.
    fresh = itertools.chain(decided.files, [row for row in decided.captions if row.key not in store])
    share, size = (time.perf_counter() - began) / max(len(new) + len(now), 1), work.build.run.chunk
    while some := [row.model_copy(update={"seconds": share}) for row in itertools.islice(fresh, size)]:
        store.append(some, size)
    store.folder.write(SEEN, digest)
    return []


def _hashed(scan: StageView[Any]) -> Iterator[tuple[str, HashedFile]]:
    """The accepted files by their keys."""
    for row in scan.columns([f"payload.{leaf}" for leaf in HashedFile._fields]):
        if row["payload"]:
            yield row["key"], HashedFile(**row["payload"])


def _known(store: StageView[Any]) -> Iterator[KnownSource]:
    """The sources on record."""
    for row in store.columns(["payload.digest", "payload.uris.list.element", "payload.caption"]):
        if row["payload"]:
            yield KnownSource(**row["payload"])


SPEC = StageSpec(
    name="select",
    settings=SelectSettings,
    record=SourceVideo,
    whole=_whole,
    stale=_stale,
    link=Link("payload.source_id", lambda payload: [payload["source_id"]]),
    unit="files",
    rejects={
        Reason.DUPLICATE: "the same bytes as another file, which is kept",
        Reason.NO_CAPTION: "no row of the caption table names this video",
        Reason.BAD_CAPTION: "the caption or its row cannot be used, or the row fits several videos",
        Reason.NO_VIDEO: "a caption whose video is not in the bucket",
        Reason.CHANGED_CAPTION: "a known content came back with another caption",
        Reason.SHARED_CAPTION: "more different videos have this caption than can be meant by it",
    },
)
