"""The dataset folder: its account and index, checked once at the start, and byte ranges of its shards."""

import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from matrix_train.data.config import DataConfig, Split
from matrix_train.errors import UserError
from schemas import SCHEMA_VERSION
from schemas.arrow import arrow_schema, from_table
from schemas.dataset import DATASET_FILE, INDEX_FILE, DatasetFile, IndexRow
from schemas.labels import Labels, read_labels
from schemas.text import one_line


@dataclass(frozen=True)
class Source:
    """A folder on any fsspec file system. Holds no connection, so it may travel to other processes."""

    url: str
    options: tuple[tuple[str, str | int | bool], ...] = ()

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file below the folder, or its bytes from `start` to `end`, fewer where it is shorter.

        FileNotFoundError where there is none. UserError for any other failure: the world around the data is broken, not
        an entry, and to go on with other samples would make the run depend on a network's mood.
        """
        try:
            # fsspec keeps file systems by process and arguments: opened on first use in each worker, reused after.
            fs, root = fsspec.url_to_fs(self.url, **dict(self.options))
            data: bytes = fs.cat_file(f"{root.rstrip('/')}/{name}", start=start, end=end)
        except FileNotFoundError:
            raise
        except Exception as error:  # every file system has its own: botocore, aiohttp, a missing package
            raise UserError(f"cannot read {name} in {self.url}: {one_line(error)}") from None
        return data


class Listing(NamedTuple):
    """One split of a data set."""

    source: Source
    rows: list[IndexRow]
    """Sorted by key."""
    identity: str
    """Of everything that the split's shards hold, and of what people said of it since."""
    labels: Labels
    """That: it wins over the shards. Samples that people dropped are not among the rows."""


def read_index(config: DataConfig, split: Split) -> Listing:
    """What the data set's account and index say of one split.

    UserError where there is no dataset, it cannot be reached, has another schema version, or its index is not the one
    that `dataset.json` vouches for; and for an empty split.
    """
    source = _find(Source(config.dataset, tuple(config.storage_options.items())))
    account = _account(source)
    rows = _rows(source, account)
    try:
        labels = read_labels(source.read)
    except ValueError as error:
        raise UserError(f"{error} ({source.url})") from None
    chosen = sorted((row for row in rows if row.split == split and row.key not in labels.dropped), key=lambda r: r.key)
    if not chosen:
        dropped = f"; people dropped {len(labels.dropped)} in review" if labels.dropped else ""
        advice = ": build it with shard.val_share above 0, or take another data set" if split == "val" else ""
        raise UserError(f"{source.url} has no sample in split {split!r} of its {len(rows)}{dropped}{advice}")
    shards = sorted((shard.name, shard.sha256) for shard in account.shards if shard.split == split)
    named = repr(shards) + labels.digest
    return Listing(source, chosen, hashlib.sha256(named.encode()).hexdigest()[:16], labels)


def _find(source: Source) -> Source:
    """The folder itself, or the one data set in it: `out/dataset` holds a folder for each fingerprint. UserError."""
    try:
        source.read(DATASET_FILE)
        return source
    except FileNotFoundError:
        pass
    try:
        fs, root = fsspec.url_to_fs(source.url, **dict(source.options))
        inside = sorted(path.rsplit("/", 2)[1] for path in fs.glob(f"{root.rstrip('/')}/*/{DATASET_FILE}"))
    except Exception as error:  # every file system has its own: botocore, aiohttp, a missing package
        raise UserError(f"cannot read {source.url}: {one_line(error)}") from None
    if len(inside) > 1:
        raise UserError(f"{source.url} holds {len(inside)} datasets: give one of {', '.join(inside[:5])}")
    return Source(f"{source.url.rstrip('/')}/{inside[0]}", source.options) if inside else source


def _account(source: Source) -> DatasetFile:
    try:
        data = source.read(DATASET_FILE)
    except FileNotFoundError:
        raise UserError(f"no {DATASET_FILE} in {source.url}: is this the folder of a finished dataset?") from None
    try:
        # First the version alone: another one may have other fields.
        found: Any = from_json(data)
        version = found["schema_version"]
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{source.url} has schema version {version}, this matrix_train reads {SCHEMA_VERSION}: build it again"
            )
        return DatasetFile.model_validate(found)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{DATASET_FILE} in {source.url} is damaged: {one_line(error)}") from None


def _rows(source: Source, account: DatasetFile) -> list[IndexRow]:
    damaged = f"{INDEX_FILE} in {source.url} is damaged"
    try:
        data = source.read(INDEX_FILE)
    except FileNotFoundError:
        raise UserError(f"no {INDEX_FILE} in {source.url}: copy the whole dataset folder") from None
    if hashlib.sha256(data).hexdigest() != account.index_sha256:
        raise UserError(f"{damaged}, or still being written: its SHA-256 is not the one in {DATASET_FILE}")
    try:
        table = pq.read_table(io.BytesIO(data))
        if not table.schema.equals(arrow_schema(IndexRow)):
            raise ValueError("it has other columns than this version writes")
        rows = from_table(table, IndexRow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{damaged}: {one_line(error)}") from None
    shards = {shard.name: shard for shard in account.shards}
    counts = Counter(row.shard for row in rows)
    wrong = sorted(name for name in shards.keys() | counts.keys()
                   if name not in shards or counts[name] != shards[name].samples)  # fmt: skip
    if wrong:
        raise UserError(f"{damaged}: its rows for {wrong[0]} are not what {DATASET_FILE} lists")
    for row in rows:
        if row.split != shards[row.shard].split or row.offset + row.bytes > shards[row.shard].bytes:
            raise UserError(f"{damaged}: {row.key} does not lie within {row.shard}")
    if len({row.key for row in rows}) != len(rows):
        raise UserError(f"{damaged}: a key is listed twice")
    return rows
