"""What stands beside the shards: one row a sample (`index.parquet`) and the account of the whole (`dataset.json`)."""

from typing import Literal

from pydantic import Field

from schemas.base import SCHEMA_VERSION, ClipId, Count, InstanceId, Record, Score5, Sha256
from schemas.sample import Sample

Split = Literal["train", "val"]

DATASET_FILE, INDEX_FILE, CARD_FILE = "dataset.json", "index.parquet", "README.md"

AUDIT_FILE = "audit.json"
"""Once somebody has audited the dataset: the figures of `tasks.review.audit.figures`, which the cards show."""

SHARD_PATTERN = r"^(train|val)-[0-9]{5,}-[0-9a-f]{16}\.tar$"
"""Side, chunk, and the first digits of its SHA-256: many may write shards, and each name has one content."""

SUFFIXES = ("mp4", "txt", "json", "tracks.json", "idmap.png")
"""Files of an entry in the order they are written; each is named `<clip_id>.<suffix>`."""


class IndexRow(Record):
    """One sample of the dataset: enough to find it, read it at random and count over it."""

    key: ClipId
    shard: str = Field(pattern=SHARD_PATTERN)
    split: Split
    offset: Count = Field(description="byte of the shard where the entry's first header begins")
    bytes: Count = Field(description="of the whole entry, headers and padding included")
    caption: str
    width: Count
    height: Count
    frames: Count
    fps: float
    instances: Count
    interactions: Count
    ids: tuple[InstanceId, ...]
    nouns: tuple[str, ...] = Field(description="class per instance, in the order of `ids`")
    verbs: tuple[str, ...] = Field(description="per interaction")
    contact: tuple[Score5, ...] = Field(description="per interaction")
    dynamism: tuple[Score5, ...] = Field(description="per interaction")
    sides: tuple[float, ...] = Field(description="per track: median sqrt(mask area) / shorter image side")
    dataset: str
    uri: str = Field(description="the source that was read; further names of the same content stand in the sample")
    license: str | None
    source_digest: Sha256
    group: ClipId = Field(description="videos that look alike; all samples of a group are in one split")
    media_digest: Sha256

    @classmethod
    def of(cls, sample: Sample, shard: str, split: Split, offset: int, size: int) -> "IndexRow":
        """The row of a sample whose entry lies at `offset` of `shard` and takes `size` bytes."""
        origin = sample.provenance
        return cls(
            key=sample.clip_id, shard=shard, split=split, offset=offset, bytes=size, caption=sample.caption,
            width=sample.width, height=sample.height, frames=sample.frames, fps=sample.fps,
            instances=len(sample.instances), interactions=len(sample.interactions),
            ids=tuple(i.id for i in sample.instances), nouns=tuple(i.cls for i in sample.instances),
            verbs=tuple(a.verb for a in sample.interactions),
            contact=tuple(a.rating.contact for a in sample.interactions),
            dynamism=tuple(a.rating.dynamism for a in sample.interactions),
            sides=tuple(n.side for n in sample.numbers),
            dataset=origin.dataset, uri=origin.uris[0], license=origin.license,
            source_digest=origin.source_digest, group=origin.group, media_digest=origin.media_digest,
        )  # fmt: skip


class ShardInfo(Record):
    """One tar of the dataset, as it was when it was written. It never changes afterwards."""

    name: str = Field(pattern=SHARD_PATTERN)
    split: Split
    samples: Count
    bytes: Count
    sha256: Sha256


class Counts(Record):
    """Sums over the dataset."""

    samples: Count = 0
    train: Count = 0
    val: Count = 0
    shards: Count = 0
    bytes: Count = Field(default=0, description="of all shards")
    instances: Count = 0
    interactions: Count = 0
    frames: Count = 0


class DatasetFile(Record):
    """`dataset.json`, written last: what it lists is complete, and what it does not list is no part of the dataset."""

    schema_version: int = SCHEMA_VERSION
    settings: dict[str, int | float | str | bool] = Field(description="of the shard stage")
    fingerprints: dict[str, str] = Field(description="per stage; every sample was made under them")
    counts: Counts
    shards: tuple[ShardInfo, ...]
    index_sha256: Sha256 = Field(description="of index.parquet")


class Sharded(Record):
    """A sample and the shard that holds it (stage `shard`)."""

    row: IndexRow
    shard: ShardInfo = Field(description="the same in every row of a shard")
