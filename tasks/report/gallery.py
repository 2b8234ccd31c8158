"""The gallery: a few samples with their masks, boxes and words drawn in, as small looping clips inside the page."""

import base64
import bisect
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas import Sample, TrackFile
from schemas.dataset import IndexRow
from tasks.caption.stretches import Stretch, stretches
from tasks.dataset.reader import read_parts
from tasks.media.clips import EncodeSettings, decode_mask, encode_clip
from tasks.media.overlay import Label, draw_small, strip, surface
from tasks.report.stats import bare
from tasks.store.folder import Folder

_SMALL = EncodeSettings(crf=26, preset="veryfast")

WIDTH = 360
"""Pixels of a gallery clip; its height follows."""


@dataclass(frozen=True)
class Exhibit:
    """One sample as the page shows it."""

    key: str
    video: str
    """data: URI of an mp4."""
    poster: str
    """data: URI of a JPEG, shown until the clip plays."""
    caption: tuple[Stretch, ...]
    triplets: tuple[tuple[Stretch, ...], ...]
    ratings: tuple[str, ...]
    source: str
    license: str
    width: int
    height: int


class Picks:
    """Chooses samples with as many different verbs as there are, then any; the same for the same dataset.

    Keys are hashes, so going by key is a fair draw: the first with each verb, and of all the first. Besides these no
    row is kept.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._with_verb: dict[str, IndexRow] = {}
        self._first: list[IndexRow] = []
        """By key; twice as many as are wanted, for some may be among the others."""

    def watch(self, rows: Iterable[IndexRow]) -> Iterator[IndexRow]:
        """Hand rows on, in any order, and choose among them."""
        for row in rows:
            for verb in map(bare, row.verbs):
                if verb not in self._with_verb or row.key < self._with_verb[verb].key:
                    self._with_verb[verb] = row
            if len(self._first) < 2 * self.count or row.key < self._first[-1].key:
                bisect.insort(self._first, row, key=lambda r: r.key)
                del self._first[2 * self.count :]
            yield row

    def chosen(self) -> list[IndexRow]:
        """In the order in which they lie in the shards."""
        fresh = {row.key: row for row in self._with_verb.values()}
        some = dict(sorted(fresh.items())[: self.count])
        for row in self._first:
            if len(some) < self.count:
                some.setdefault(row.key, row)
        return sorted(some.values(), key=lambda r: (r.shard, r.offset))


def exhibits(dataset: Folder, chosen: Sequence[IndexRow]) -> list[Exhibit]:
    """The chosen samples, drawn."""
    made = []
    for parts in read_parts(dataset, chosen, ("mp4", "json", "tracks.json")):
        sample = Sample.model_validate_json(parts["json"])
        tracks = TrackFile.model_validate_json(parts["tracks.json"])
        made.append(exhibit(sample, tracks, parts["mp4"]))
    return made


def exhibit(sample: Sample, tracks: TrackFile, mp4: bytes) -> Exhibit:
    """One sample with its overlays, encoded small."""
    words = {i.id: f"{i.id} {i.cls}" for i in sample.instances}
    classes = {i.id: i.cls for i in sample.instances}
    band = strip([surface(act, classes) for act in sample.interactions], WIDTH)
    pictures = []
    with av.open(io.BytesIO(mp4), mode="r", format="mp4") as container:
        for t, frame in enumerate(container.decode(video=0)):
            labels = []
            for name, masks in tracks.tracks.items():
                rle = masks[t]
                if rle is not None:
                    labels.append(Label(name, words.get(name, name), decode_mask(rle.counts, *tracks.size)))
            # Made small by the decoder's own scaler, which is several times cheaper than doing it to whole frames.
            height = round(WIDTH * frame.height / frame.width / 2) * 2
            small = frame.to_ndarray(format="rgb24", width=WIDTH, height=height)
            picture = draw_small(np.asarray(small, dtype=np.uint8), labels, WIDTH)
            pictures.append(np.vstack((picture, band)))
    nouns = {i.id: i.noun for i in sample.instances}
    return Exhibit(
        key=sample.clip_id,
        video=_uri("video/mp4", encode_small(np.stack(pictures), sample.fps)),
        poster=_uri("image/jpeg", _jpeg(pictures[0])),
        caption=tuple(stretches(sample.caption, sample.interactions)),
        triplets=tuple(
            (
                Stretch(nouns[act.subject], "subject", act.subject),
                Stretch(act.verb, "verb"),
                Stretch(nouns[act.object], "object", act.object),
            )
            for act in sample.interactions
        ),
        ratings=tuple(f"contact {a.rating.contact} · dynamism {a.rating.dynamism}" for a in sample.interactions),
        source=sample.provenance.dataset,
        license=sample.provenance.license or "not stated",
        width=pictures[0].shape[1],
        height=pictures[0].shape[0],
    )


def encode_small(frames: NDArray[np.uint8], fps: float) -> bytes:
    """H.264 mp4 of RGB frames [T, H, W, 3] that every browser plays, the same bytes each time."""
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    pictures = [np.ascontiguousarray(picture) for picture in frames[:, :height, :width]]
    return encode_clip(pictures, Fraction(fps).limit_denominator(1000), _SMALL)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
