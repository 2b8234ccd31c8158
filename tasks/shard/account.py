"""What gathers the shards of all chunks: `index.parquet`, the card, and `dataset.json`, which is written last."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import SCHEMA_VERSION
from schemas.arrow import arrow_schema
from schemas.dataset import CARD_FILE, DATASET_FILE, INDEX_FILE, Counts, DatasetFile, IndexRow, Sharded, ShardInfo
from tasks.dataset.reader import DatasetError, read_dataset
from tasks.shard.card import card, read_audit
from tasks.spec import Whole
from tasks.store.chunks import StageView
from tasks.store.folder import TEMPORARY, Folder
from tasks.store.parts import DamagedPart

ROWS = 4096
"""Rows a row group of the index."""


def forget_lost(work: Whole) -> list[str]:
    """Take the rows of shards that are gone off the record: they are written again, to the same bytes."""
    there, store = set(work.dataset.names()), work.store()
    try:
        if store.values("payload.shard.name") <= there:
            return []
    except (DamagedPart, FileNotFoundError):  # or merged just then: row by row it is seen what holds
        pass
    gone = {
        row["key"]: row["payload"]["shard"]["name"]
        for row in store.columns(["payload.shard.name"])
        if row["payload"] and row["payload"]["shard"]["name"] not in there
    }
    store.forget(gone)
    return [f"{len(set(gone.values()))} shards were gone and are written again"] if gone else []


def publish(work: Whole) -> list[str]:
    """Write the index, the card and the account over all samples on record."""
    gather(work.dataset, _by_chunk(work.store()), work.settings.model_dump(mode="json"), work.fingerprints)
    return []


def gather(
    dest: Folder, chunks: Iterable[pa.StructArray], settings: dict[str, Any], fingerprints: Mapping[str, str]
) -> None:
    """Write the index, the card and the account over the `Sharded` of each chunk; nothing where there is none.

    settings: of the shard stage.
    """
    shards: dict[str, ShardInfo] = {}
    sums = dict.fromkeys(("instances", "interactions", "frames"), 0)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, arrow_schema(IndexRow), compression="zstd") as writer:
        for payloads in chunks:
            rows = pa.Table.from_struct_array(payloads.field("row")).sort_by("key")
            writer.write_table(rows, row_group_size=ROWS)
            sums = {name: total + pc.sum(rows[name]).as_py() for name, total in sums.items()}
            infos = payloads.field("shard")
            firsts = pa.table({"name": infos.field("name"), "at": range(len(infos))}).group_by("name")
            for at in firsts.aggregate([("at", "min")])["at_min"].to_pylist():
                info = ShardInfo.model_validate(infos[at].as_py())
                shards[info.name] = info
    if not shards:
        return
    index = buffer.getbuffer()
    listed = sorted(shards.values(), key=lambda shard: (shard.split, len(shard.name), shard.name))
    train, val = (sum(s.samples for s in listed if s.split == side) for side in ("train", "val"))
    account = DatasetFile(
        schema_version=SCHEMA_VERSION,
        settings=settings,
        fingerprints=dict(fingerprints),
        counts=Counts(
            samples=train + val, train=train, val=val, shards=len(listed), bytes=sum(s.bytes for s in listed), **sums
        ),
        shards=tuple(listed),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    for name in dest.names():  # of a run that was killed here
        if name.startswith(TEMPORARY) and name.endswith((INDEX_FILE, CARD_FILE, DATASET_FILE)):
            dest.remove(name)
    with dest.create(INDEX_FILE) as stream:
        stream.write(index)
    dest.write(CARD_FILE, card(account, read_audit(dest)))
    dest.write(DATASET_FILE, (account.model_dump_json(indent=2) + "\n").encode())


def spoilt(work: Whole) -> bool:
    """Whether what `publish` writes is gone, cut short or another's."""
    try:
        account = read_dataset(work.dataset)
        if account is None or account.fingerprints != dict(work.fingerprints):
            return True
        index, shown = work.dataset.read(INDEX_FILE), work.dataset.read(CARD_FILE)
    except (DatasetError, FileNotFoundError):
        return True
    return hashlib.sha256(index).hexdigest() != account.index_sha256 or shown != card(account, read_audit(work.dataset))


def _by_chunk(store: StageView[Sharded]) -> Iterator[pa.StructArray]:
    """The payloads of the accepted rows of each chunk that has any."""
    for chunk in store.chunks.values():
        found = [table["payload"].drop_null() for table in chunk.tables(["payload"])]
        if payloads := [piece for column in found for piece in column.chunks if len(piece)]:
            yield pa.concat_arrays(payloads)
