"""Stage `dedupe`: leave out clips that look like an earlier one (docs/stages/dedupe.md).

A barrier over all new clips. Exact copies are gone by then (stage `select`); this finds the same pictures in another
size, codec or quality, by the perceptual hashes of evenly spaced frames.
"""

import re
import time
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schemas import Clip, Deduped, Reason, Row, Status
from schemas.settings import Settings
from tasks.media.phash import as_bits
from tasks.outcome import share_time
from tasks.spec import StageSpec, Work

BLOCK = 256
"""New clips compared at a time: bounds memory at BLOCK × clips × hashes."""


class DedupeSettings(Settings):
    max_distance: float = Field(
        default=4.0, ge=0, le=64,
        description="Clips whose frame hashes differ by no more bits than this, on average, are near-duplicates",
    )  # fmt: skip
    report_distance: float = Field(
        default=16.0, ge=0, le=64, description="Up to this distance the nearest earlier clip is named on record"
    )


def dedupe(
    new: Sequence[Clip], known: Iterable[Clip | tuple[str, Sequence[str]]], settings: DedupeSettings
) -> list[Row[Deduped]]:
    """One row a new clip, sorted by source URI, scene and window: the first of several alike is the one that stays.

    Compared with the accepted clips on record (`known`: clips, or pairs of clip_id and hashes) and with the accepted
    ones that come earlier. Windows of one source are never duplicates of each other: a still camera makes them look
    alike, and they show different times. ValueError where clips have different numbers of hashes.
    """
    ordered = sorted(new, key=lambda c: (c.source.uris[0], c.window.scene, c.window.index, c.clip_id))
    if not ordered:
        return []
    before = sorted((k.clip_id, tuple(k.phash)) if isinstance(k, Clip) else (k[0], tuple(k[1])) for k in known)
    ids = [i for i, _ in before] + [c.clip_id for c in ordered]
    hashes = np.stack([as_bits(p) for _, p in before] + [as_bits(c.phash) for c in ordered])
    kept = np.zeros(len(ids), dtype=bool)
    kept[: len(before)] = True
    numbers: dict[str, int] = {}
    source = np.full(len(ids), -1)
    source[len(before) :] = [numbers.setdefault(c.source.source_id, len(numbers)) for c in ordered]
    rows = []
    for first in range(len(before), len(ids), BLOCK):
        last = min(first + BLOCK, len(ids))
        for i, bits in enumerate(_distances(hashes[first:last], hashes[:last]), first):
            rivals = np.flatnonzero(kept[:i] & (source[:i] != source[i]))
            nearest = rivals[np.argmin(bits[rivals])] if len(rivals) else None
            rows.append(_row(ids[i], None if nearest is None else ids[nearest],
                             0.0 if nearest is None else float(bits[nearest]) / hashes.shape[1], settings))  # fmt: skip
            kept[i] = rows[-1].status is Status.ACCEPTED
    return rows


def _distances(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Differing bits, summed over the hashes: [n, k] and [m, k] to [n, m]."""
    total = np.zeros((len(left), len(right)), dtype=np.uint16)
    for a, b in zip(np.ascontiguousarray(left.T), np.ascontiguousarray(right.T), strict=True):
        total += np.bitwise_count(a[:, None] ^ b)
    return total


def nearest_of(row: Row[Deduped]) -> str | None:
    """The most similar earlier clip where one is within the report distance; of a near-duplicate the one it repeats."""
    if row.payload:
        return row.payload.nearest
    if row.reason is not Reason.NEAR_DUPLICATE:
        return None
    found = _REPEATS.fullmatch(row.detail)
    if found is None:
        raise ValueError(f"{row.key} does not tell which clip it repeats: {row.detail!r}")
    return found[1]


_REPEATS = re.compile(r"[0-9.]+ of 64 bits from clip ([0-9a-f]{16})")
"""The detail of a near-duplicate, as `_row` writes it."""


def _row(clip_id: str, nearest: str | None, distance: float, settings: DedupeSettings) -> Row[Deduped]:
    if nearest is not None and distance <= settings.max_distance:
        detail = f"{distance:.1f} of 64 bits from clip {nearest}"
        return Row(key=clip_id, status=Status.REJECTED, reason=Reason.NEAR_DUPLICATE, detail=detail)
    near = nearest is not None and distance <= settings.report_distance
    payload = Deduped(nearest=nearest if near else None, distance=round(distance) if near else None)
    return Row(key=clip_id, status=Status.ACCEPTED, payload=payload)


def _whole(work: Work) -> list[str]:
    """Compare all new clips with those accepted before and with each other, in an order that no kill changes."""
    store, began = work.store(), time.perf_counter()
    pending = set(store.pending(work.arrived()))
    if not pending:
        return []
    accepted = set(store.accepted())
    new, known = [], []
    for rows in work.store("ingest").scan():
        for row in rows:
            for clip in row.payload.clips if row.payload else ():
                if clip.clip_id in pending:
                    new.append(clip)
                elif clip.clip_id in accepted:
                    known.append(clip)
    store.write(share_time(dedupe(new, known, work.settings), began))
    return []


SPEC = StageSpec(
    name="dedupe",
    settings=DedupeSettings,
    record=Deduped,
    whole=_whole,
    rejects={Reason.NEAR_DUPLICATE: "it looks like an earlier clip, which the detail names"},
)
