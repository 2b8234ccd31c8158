"""Stage `dedupe`: leave out clips that look like an earlier one, cut the others into chunks (docs/stages/dedupe.md).

A barrier over all new clips. Exact copies are gone by then (stage `select`); this finds the same pictures in another
size, codec or quality, by the perceptual hashes of evenly spaced frames. Its rows are what the stages after it know of
a clip: the clip itself, and the group of videos that it may not be parted from.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schemas import Clip, Deduped, Reason, Row, Status
from schemas.settings import Settings
from tasks.dedupe.groups import Kin, group_sources
from tasks.media.phash import as_bits
from tasks.spec import StageSpec, Whole
from tasks.store.chunks import StageView

BLOCK, TILE = 64, 4096
"""New clips compared at a time, and with how many others: what lies between two steps stays in the processor's cache.
Every pair is looked at, for no index finds codes that differ in a quarter of their bits; a pair costs some nanoseconds.
"""


class DedupeSettings(Settings):
    max_distance: float = Field(
        default=4.0, ge=0, le=64,
        description="Clips whose frame hashes differ by no more bits than this, on average, are near-duplicates",
    )  # fmt: skip
    report_distance: float = Field(
        default=16.0, ge=0, le=64, description="Up to this distance the nearest earlier clip is named on record"
    )


class Look(NamedTuple):
    """What is compared of a clip."""

    clip_id: str
    source_id: str
    hashes: NDArray[np.uint64]
    """Of evenly spaced frames [n], n the same for all clips."""
    order: tuple[str, int, int] = ("", 0, 0)
    """Source URI, scene and window: the first of several alike is the one that stays."""


class Verdict(NamedTuple):
    """What is decided on a new clip."""

    clip_id: str
    nearest: str | None
    """The most similar earlier clip that stays; None where there is none within the report distance."""
    bits: float
    """Distance to it, of 64, mean over the hashes."""
    duplicate: bool
    kin: Kin


def decide(
    new: Sequence[Look], known: Sequence[Look], groups: dict[str, str], settings: DedupeSettings
) -> list[Verdict]:
    """A verdict on each new clip, in their order: by source URI, scene and window.

    Compared with the accepted clips on record (`known`) and with the accepted ones that come earlier. Windows of one
    source are never duplicates of each other: a still camera makes them look alike, and they show different times.
    groups: of the sources on record. ValueError where clips have different numbers of hashes.
    """
    if not new:
        return []
    ordered = sorted(new, key=lambda look: (look.order, look.clip_id))
    stayed = sorted(known, key=lambda look: look.clip_id)
    count = ordered[0].hashes.size
    codes = np.empty((len(known) + len(new), count), dtype=np.uint64)
    sources = np.empty(len(codes), dtype=np.int64)
    numbers: dict[str, int] = {}
    for at, look in enumerate(stayed):
        codes[at], sources[at] = look.hashes, numbers.setdefault(look.source_id, len(numbers))
    found: list[tuple[Look, Look | None, float, bool]] = []
    for first in range(0, len(ordered), BLOCK):
        block, before = ordered[first : first + BLOCK], len(stayed)
        bits = _distances(np.stack([look.hashes for look in block]), codes[:before])
        for i, look in enumerate(block):
            own = numbers.setdefault(look.source_id, len(numbers))
            beside = _distances(look.hashes[None], codes[before : len(stayed)])[0]
            some = [(0, bits[i]), (before, beside)]
            best = min((_nearest(row, sources[at : at + row.size], own, at) for at, row in some), default=None)
            distance = best[0] / count if best and best[0] < _NONE else math.inf
            nearest = stayed[best[1]] if best and best[0] < _NONE else None
            duplicate = distance <= settings.max_distance
            near = duplicate or distance <= settings.report_distance
            found.append((look, nearest if near else None, distance, duplicate))
            if not duplicate:
                codes[len(stayed)], sources[len(stayed)] = look.hashes, own
                stayed.append(look)
    links = ((look.source_id, other.source_id) for look, other, *_ in found if other)
    kin = group_sources(links, {look.source_id for look in new}, groups)
    return [
        Verdict(look.clip_id, other.clip_id if other else None, distance, duplicate,
                kin.get(look.source_id) or Kin(groups[look.source_id]))
        for look, other, distance, duplicate in found
    ]  # fmt: skip


_NONE = np.iinfo(np.uint16).max
"""A distance that no pair has."""


def _nearest(bits: NDArray[np.uint16], sources: NDArray[np.int64], own: int, first: int) -> tuple[int, int]:
    """Least distance [m] to a clip of another source than `own`, and its place, counted from `first`."""
    if not bits.size:
        return _NONE, first
    at = int(np.argmin(bits))
    if sources[at] == own:
        bits = np.where(sources == own, np.uint16(_NONE), bits)
        at = int(np.argmin(bits))
    return int(bits[at]), first + at


def _distances(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Differing bits, summed over the hashes: [n, k] and [m, k] to [n, m]."""
    total = np.zeros((len(left), len(right)), dtype=np.uint16)
    columns = np.ascontiguousarray(left.T)
    for first in range(0, len(right), TILE):
        tile = total[:, first : first + TILE]
        for a, b in zip(columns, np.ascontiguousarray(right[first : first + TILE].T), strict=True):
            tile += np.bitwise_count(a[:, None] ^ b)
    return total


def row_of(verdict: Verdict, clip: Clip, seconds: float) -> Row[Deduped]:
    """What goes on record of a clip."""
    if verdict.duplicate:
        detail = f"{verdict.bits:.1f} of 64 bits from clip {verdict.nearest}"
        return Row(
            key=clip.clip_id, status=Status.REJECTED, reason=Reason.NEAR_DUPLICATE, detail=detail, seconds=seconds
        )
    payload = Deduped(
        clip=clip,
        group=verdict.kin.group,
        near=verdict.kin.near,
        nearest=verdict.nearest,
        distance=None if verdict.nearest is None else round(verdict.bits),
    )
    return Row(key=clip.clip_id, status=Status.ACCEPTED, seconds=seconds, payload=payload)


def _whole(work: Whole) -> list[str]:
    """Compare all new clips with those accepted before and with each other, in an order that no kill changes."""
    began = time.perf_counter()
    ingest, store = work.store("ingest"), work.store()
    owners = ingest.links()
    known, groups = _known(store)
    gone = [look.clip_id for look in known if look.clip_id not in owners]
    back = {key for key, why in store.rejected().items() if why == Reason.CLIP_LOST and key in owners}
    decided = store.keys() - back
    new = [look for look in _new(ingest) if look.clip_id not in decided]
    verdicts = decide(new, [look for look in known if look.clip_id in owners], groups, work.settings)
    share = (time.perf_counter() - began) / max(len(verdicts), 1)
    _put_in_place(store, gone, [v for v in verdicts if v.clip_id in back], ingest, owners, share)
    size = work.build.run.chunk
    fresh = [verdict for verdict in verdicts if verdict.clip_id not in back]
    for first in range(0, len(fresh), size):
        some = fresh[first : first + size]
        clips = _clips(ingest, owners, some)
        store.append([row_of(v, clips[v.clip_id], share) for v in some], size)
    return [f"{len(gone)} clips are left out, for their video is gone or cannot be read any more"] if gone else []


def _put_in_place(
    store: StageView[Deduped],
    gone: Sequence[str],
    back: Sequence[Verdict],
    ingest: StageView[Any],
    owners: dict[str, str],
    share: float,
) -> None:
    """Rows that change stay in the chunk where their clip has its place at every stage."""
    clips = _clips(ingest, owners, back)
    detail = "its video is gone or cannot be read any more"
    rows = [Row[Deduped](key=k, status=Status.REJECTED, reason=Reason.CLIP_LOST, detail=detail) for k in gone]
    for row in [*rows, *(row_of(v, clips[v.clip_id], share) for v in back)]:
        chunk = store.chunks[store.chunk_of(row.key)]
        chunk.forget([row.key])
        chunk.write([row])


_SOURCE = "payload.clip.source.source_id"


def _known(store: StageView[Deduped]) -> tuple[list[Look], dict[str, str]]:
    """The accepted clips on record, and the group of each source."""
    looks, groups = [], {}
    for row in store.columns([_SOURCE, "payload.clip.phash.list.element", "payload.group"]):
        if payload := row["payload"]:
            source_id = payload["clip"]["source"]["source_id"]
            looks.append(Look(row["key"], source_id, as_bits(payload["clip"]["phash"])))
            groups[source_id] = payload["group"]
    return looks, groups


def _new(ingest: StageView[Any]) -> Iterator[Look]:
    """All clips that ingest has on record."""
    leaves = (
        "clip_id",
        "phash.list.element",
        "source.source_id",
        "source.uris.list.element",
        "window.scene",
        "window.index",
    )
    for row in ingest.columns([f"payload.clips.list.element.{leaf}" for leaf in leaves]):
        for clip in (row["payload"] or {}).get("clips") or ():
            order = (clip["source"]["uris"][0], clip["window"]["scene"], clip["window"]["index"])
            yield Look(clip["clip_id"], clip["source"]["source_id"], as_bits(clip["phash"]), order)


def _clips(ingest: StageView[Any], owners: dict[str, str], verdicts: Sequence[Verdict]) -> dict[str, Clip]:
    """The clips' whole records, by clip_id."""
    sources = sorted({owners[v.clip_id] for v in verdicts})
    return {clip.clip_id: clip for made in ingest.payloads(sources) for clip in made.clips}


SPEC = StageSpec(
    name="dedupe",
    version=2,
    settings=DedupeSettings,
    record=Deduped,
    whole=_whole,
    rejects={
        Reason.NEAR_DUPLICATE: "it looks like an earlier clip, which the detail names",
        Reason.CLIP_LOST: "its video is gone or cannot be read any more; it comes back with its video",
    },
)
