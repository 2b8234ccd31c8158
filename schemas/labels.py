"""A sample as people left it: the labels of `review.parquet` laid over what the shard holds. They win; no file changes.

What comes out is what the shard stage would have written, had people said so before. Pure, for every reader: exports,
pages, trainer.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.arrow import arrow_schema, from_table
from schemas.curation import Review
from schemas.dataset import IndexRow
from schemas.interaction import Dropped
from schemas.review import REVIEW_FILE, Label
from schemas.sample import MaskRle, Sample, TrackFile

Said = Sequence[Label]
"""The labels of one sample that apply; none where nobody has said anything."""


class Labels:
    """All labels of a dataset that apply, packed as the file has them; a sample's are unpacked when they are asked."""

    def __init__(self, data: bytes | None) -> None:
        """data: the file's bytes, None where there is none. ValueError for a damaged one, or one of another version."""
        self.digest = hashlib.sha256(data).hexdigest()[:16] if data is not None else ""
        """What two readings of the same dataset must agree in; empty where there is no file."""
        schema = arrow_schema(Label)
        try:
            table = pq.read_table(io.BytesIO(data)) if data is not None else schema.empty_table()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{REVIEW_FILE} is damaged: {' '.join(str(error).split())[:200]}") from None
        if not table.schema.equals(schema):
            raise ValueError(f"{REVIEW_FILE} has other columns than this version reads: run the build again")
        self._table = table.filter(pc.field("applies"))
        self._places: dict[str, list[int]] = {}
        for place, key in enumerate(self._table["key"].to_pylist()):
            self._places.setdefault(key, []).append(place)
        gone = self._table.filter(pc.field("clip") == "drop")["key"]
        self.dropped: frozenset[str] = frozenset(gone.to_pylist())
        """Samples that people left no triplet of."""

    def __len__(self) -> int:
        """Samples that something was said of."""
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Their keys."""
        return iter(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def of(self, key: str) -> Said:
        """A sample's labels, in the order of its IDs."""
        places = self._places.get(key)
        return from_table(self._table.take(pa.array(places)), Label) if places else ()

    def row(self, row: IndexRow) -> IndexRow:
        """The index row of the sample as people left it; unchanged where they said nothing, or dropped it whole."""
        return _row(row, self.of(row.key)) if row.key in self._places and row.key not in self.dropped else row


def read_labels(read: Callable[[str], bytes]) -> Labels:
    """The labels beside the dataset whose files `read` gives by name, with FileNotFoundError. ValueError as Labels."""
    try:
        return Labels(read(REVIEW_FILE))
    except FileNotFoundError:
        return Labels(None)


def kept(there: Iterable[str], said: Said) -> list[str]:
    """Of the IDs that an entry holds those that stay: one that was taken out before it was written cannot come back."""
    alive = {label.id for label in said if label.decision != "drop"}
    return [name for name in there if name in alive]


def relabel(sample: Sample, tracks: TrackFile, said: Said) -> tuple[Sample, TrackFile]:
    """The sample and its masks under labels that keep it. ValueError where they do not belong to it."""
    ids = set(kept((i.id for i in sample.instances), said))
    mine = [label for label in said if label.id in ids]
    if tracks.size != (sample.height, sample.width) or any((one.height, one.width) != tracks.size for one in mine):
        raise ValueError(f"{REVIEW_FILE} has masks of another size than {sample.clip_id}")
    lost = tuple(Dropped(what=one.id, reason=one.reason, detail=one.detail) for one in said if one.decision == "drop")
    changed = sample.model_copy(
        update={
            "instances": tuple(i for i in sample.instances if i.id in ids),
            "interactions": tuple(a for one in said for a in one.interactions if {a.subject, a.object} <= ids),
            "anchors": tuple(a for a in sample.anchors if a.id in ids),
            "verdicts": tuple(v for v in sample.verdicts if v.asked in ids),
            "numbers": tuple(one.numbers for one in mine if one.numbers),
            "dropped": tuple(d for d in sample.dropped if d not in lost) + lost,
            "review": tuple(Review(id=one.id, decision=one.decision, by=one.by, note=one.reason) for one in mine),
        }
    )
    mended = {
        one.id: tuple(m if m is None else MaskRle(size=tracks.size, counts=m) for m in one.masks)
        for one in mine
        if one.masks
    }
    if any(len(masks) != sample.frames for masks in mended.values()):
        raise ValueError(f"{REVIEW_FILE} has masks of other frames than {sample.clip_id}")
    left = {name: mended.get(name, masks) for name, masks in tracks.tracks.items() if name in ids}
    return Sample.model_validate(changed.model_dump()), TrackFile(size=tracks.size, tracks=left)


def _row(row: IndexRow, said: Said) -> IndexRow:
    ids = kept(row.ids, said)
    nouns = dict(zip(row.ids, row.nouns, strict=True))
    acts = [a for label in said for a in label.interactions if {a.subject, a.object} <= set(ids)]
    return row.model_copy(
        update={
            "instances": len(ids), "interactions": len(acts), "ids": tuple(ids),
            "nouns": tuple(nouns[name] for name in ids), "verbs": tuple(a.verb for a in acts),
            "contact": tuple(a.rating.contact for a in acts), "dynamism": tuple(a.rating.dynamism for a in acts),
            "sides": tuple(one.numbers.side for one in said if one.id in ids and one.numbers),
        }
    )  # fmt: skip
