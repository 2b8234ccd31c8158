"""Stage `dedupe`: leave out clips that look like an earlier one, cut the others into chunks (docs/stages/dedupe.md).

A barrier over all new clips. Exact copies are gone by then (stage `select`); this finds the same pictures in another
size, codec or quality, by the perceptual hashes of evenly spaced frames. Its rows are what the stages after it know of
a clip: the clip itself, and the group of videos that it may not be parted from.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from pydantic import Field

from schemas import Clip, Deduped, Reason, Row, Status
from schemas.settings import Settings
from tasks.dedupe.groups import Kin, group_sources
from tasks.dedupe.nearest import Look, Looks, Nearest, nearest
from tasks.media.phash import as_bits
from tasks.spec import StageSpec, Whole
from tasks.store.chunks import StageView, as_numbers


class DedupeSettings(Settings):
    max_distance: float = Field(
        default=4.0, ge=0, le=64,
        description="Clips whose frame hashes differ by no more bits than this, on average, are near-duplicates",
    )  # fmt: skip
    report_distance: float = Field(
        default=16.0, ge=0, le=64, description="Up to this distance the nearest earlier clip is named on record"
    )


class Verdict(NamedTuple):
    """What is decided on a new clip."""

    clip_id: str
    source_id: str
    nearest: str | None
    """The most similar earlier clip that stays; None where there is none within the report distance."""
    bits: float
    """Distance to it, of 64, mean over the hashes."""
    duplicate: bool
    kin: Kin


class Verdicts(Sequence[Verdict]):
    """Verdicts on new clips, in their order; each is made when it is asked for."""

    def __init__(self, new: Looks, near: Nearest, known: Looks, groups: Mapping[str, str]) -> None:
        self._new, self._near, self._groups = new, near, groups
        self._clips = np.concatenate([known.clips, new.clips])
        linked = np.flatnonzero(near.at >= 0)
        sources = np.concatenate([known.sources, new.sources])[near.at[linked]]
        links = [(_id(one), _id(two)) for one, two in zip(new.sources[linked], sources, strict=True)]
        fresh = set(map(_id, new.sources[linked])) | {two for _, two in links}
        self._kin = group_sources(links, fresh, groups)

    def __len__(self) -> int:
        return len(self._new.clips)

    @overload
    def __getitem__(self, at: int) -> Verdict: ...
    @overload
    def __getitem__(self, at: slice) -> list[Verdict]: ...
    def __getitem__(self, at: int | slice) -> Verdict | list[Verdict]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        source, nearest = _id(self._new.sources[at]), self._near.at[at]
        return Verdict(
            clip_id=_id(self._new.clips[at]),
            source_id=source,
            nearest=_id(self._clips[nearest]) if nearest >= 0 else None,
            bits=float(self._near.distance[at]),
            duplicate=bool(self._near.duplicate[at]),
            # What nothing is near to is a group of its own.
            kin=self._kin.get(source) or Kin(self._groups.get(source, source)),
        )


def _id(number: Any) -> str:
    return f"{int(number):016x}"


def decide(new: Looks, known: Looks, groups: Mapping[str, str], settings: DedupeSettings) -> Verdicts:
    """A verdict on each new clip, in their order: by source URI, scene and window.

    Compared with the accepted clips on record (`known`) and with the accepted ones that come earlier. Windows of one
    source are never duplicates of each other: a still camera makes them look alike, and they show different times.
    groups: of the sources on record. ValueError where clips have different numbers of hashes.
    """
    by_id = np.argsort(known.clips)
    known = Looks(known.clips[by_id], known.sources[by_id], known.codes[by_id])
    found = nearest(new, known, settings.max_distance, settings.report_distance)
    return Verdicts(new, found, known, groups)


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
    made = Looks.of(_made(ingest))
    groups: dict[str, str] = {}
    known = Looks.of(_known(store, groups))
    left = np.isin(known.clips, made.clips)
    gone = list(map(_id, known.clips[~left]))
    lost = [key for key, why in store.rejected().items() if why == Reason.CLIP_LOST]
    back = set(map(_id, np.intersect1d(as_numbers(lost), made.clips)))
    decided = as_numbers(store.keys() - back)
    verdicts = decide(made.only(~np.isin(made.clips, decided)), known.only(left), groups, work.settings)
    share = (time.perf_counter() - began) / max(len(verdicts), 1)
    _put_in_place(store, gone, [v for v in verdicts if v.clip_id in back] if back else [], ingest, share)
    size = work.build.run.chunk
    fresh = [i for i, verdict in enumerate(verdicts) if verdict.clip_id not in back] if back else range(len(verdicts))
    for first in range(0, len(fresh), size):
        some = [verdicts[i] for i in fresh[first : first + size]]
        clips = _clips(ingest, some)
        store.append([row_of(v, clips[v.clip_id], share) for v in some], size)
    return [f"{len(gone)} clips are left out, for their video is gone or cannot be read any more"] if gone else []


def _put_in_place(
    store: StageView[Deduped], gone: Sequence[str], back: Sequence[Verdict], ingest: StageView[Any], share: float
) -> None:
    """Rows that change stay in the chunk where their clip has its place at every stage."""
    clips = _clips(ingest, back)
    detail = "its video is gone or cannot be read any more"
    rows = [Row[Deduped](key=k, status=Status.REJECTED, reason=Reason.CLIP_LOST, detail=detail) for k in gone]
    by_chunk: dict[str, list[Row[Deduped]]] = {}
    for row in [*rows, *(row_of(v, clips[v.clip_id], share) for v in back)]:
        by_chunk.setdefault(store.chunk_of(row.key), []).append(row)
    for name, changed in by_chunk.items():
        chunk = store.chunks[name]
        for row in changed:
            chunk.replace(row)


_SOURCE = "payload.clip.source.source_id"


def _known(store: StageView[Deduped], groups: dict[str, str]) -> Iterator[Look]:
    """The accepted clips on record; puts the group of each source into `groups`."""
    for row in store.columns([_SOURCE, "payload.clip.phash.list.element", "payload.group"]):
        if payload := row["payload"]:
            source_id = payload["clip"]["source"]["source_id"]
            groups[source_id] = payload["group"]
            yield Look(row["key"], source_id, as_bits(payload["clip"]["phash"]))


def _made(ingest: StageView[Any]) -> Iterator[Look]:
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


def _clips(ingest: StageView[Any], verdicts: Sequence[Verdict]) -> dict[str, Clip]:
    """The clips' whole records, by clip_id."""
    sources = sorted({v.source_id for v in verdicts})
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
