"""Reading a dataset folder: its account, its index and its entries, one at a time."""

import io
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas import Sample, TrackFile
from schemas.arrow import arrow_schema, from_table
from schemas.dataset import DATASET_FILE, INDEX_FILE, SUFFIXES, DatasetFile, IndexRow
from schemas.labels import Labels, read_labels
from schemas.text import one_line
from tasks.dataset.tar import BLOCK, TarError, padded, parse_header, read_entries
from tasks.errors import UserError
from tasks.store.folder import Folder


class DatasetError(UserError):
    """A file of the dataset is not what we wrote. One line, safe to print."""


@dataclass(frozen=True)
class RawEntry:
    """An entry of a shard as bytes: complete, in the order of `SUFFIXES`, `size` bytes from `offset` on."""

    key: str
    offset: int
    size: int
    files: dict[str, bytes]


@dataclass(frozen=True)
class Loaded:
    """An entry of a shard, parsed."""

    sample: Sample
    tracks: TrackFile
    mp4: bytes


def read_dataset(folder: Folder) -> DatasetFile | None:
    """The account of the dataset; None where there is none yet. DatasetError for a damaged one."""
    if not folder.exists(DATASET_FILE):
        return None
    try:
        return DatasetFile.model_validate_json(folder.read(DATASET_FILE))
    except ValidationError as error:
        raise DatasetError(f"{DATASET_FILE} is damaged or of another version: {one_line(error)}") from None


def open_labels(folder: Folder) -> Labels:
    """What people said of a dataset's samples since it was made; nothing where they have not. DatasetError."""
    try:
        return read_labels(folder.read)
    except ValueError as error:
        raise DatasetError(f"{error} ({folder.uri})") from None


def decode_index(data: bytes) -> list[IndexRow]:
    """The rows of an `index.parquet`. DatasetError for a torn or foreign one."""
    return list(index_rows(io.BytesIO(data)))


def index_rows(stream: IO[bytes]) -> Iterator[IndexRow]:
    """The rows of an `index.parquet`, some at a time in memory. DatasetError for a torn or foreign one."""
    try:
        index = pq.ParquetFile(stream)
        if not index.schema_arrow.equals(arrow_schema(IndexRow)):
            raise DatasetError(f"{INDEX_FILE} has other columns than this version writes")
        # As many as a processor's cache holds: a thousand take half as long again.
        for some in index.iter_batches(64, use_threads=False):
            yield from from_table(pa.Table.from_batches([some]), IndexRow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{INDEX_FILE} is damaged: {one_line(error)}") from None


def read_raw(folder: Folder, shard: str) -> Iterator[RawEntry]:
    """The entries of a shard in order, one in memory at a time. TarError where the file is not a shard of ours."""
    with folder.open(shard) as stream:
        key, offset, files = "", 0, dict[str, bytes]()
        for part in read_entries(stream):
            name, _, suffix = part.name.partition(".")
            wanted = SUFFIXES[len(files)]
            if suffix != wanted or (files and name != key):
                raise TarError(f"{part.name} stands where {key if files else name}.{wanted} should")
            if not files:
                key, offset = name, part.offset
            files[suffix] = part.data
            if len(files) == len(SUFFIXES):
                yield RawEntry(key, offset, sum(padded(len(data)) for data in files.values()), files)
                files = {}
        if files:
            raise TarError(f"entry {key} lacks {', '.join(SUFFIXES[len(files) :])}")


def stream(folder: Folder) -> Iterator[Loaded]:
    """All entries of the dataset, shard by shard, one in memory at a time. DatasetError for a damaged dataset."""
    account = read_dataset(folder)
    if account is None:
        raise UserError(f"no {DATASET_FILE} in {folder.uri}: is this a dataset folder?")
    for shard in account.shards:
        try:
            for raw in read_raw(folder, shard.name):
                yield parse(raw)
        except (TarError, ValidationError, FileNotFoundError) as error:
            raise DatasetError(f"{shard.name}: {one_line(error)}; see `matrix_data verify`") from None


def read_parts(folder: Folder, rows: Sequence[IndexRow], wanted: Collection[str]) -> Iterator[dict[str, bytes]]:
    """The files with the `wanted` suffixes of some samples, in their order; the rest is skipped, not read.

    Rows of one shard that follow each other share one open file. DatasetError where a shard is not what the rows say.
    """
    for shard, group in itertools.groupby(rows, key=lambda r: r.shard):
        try:
            with folder.open(shard) as stream:
                for row in group:
                    yield _parts(stream, row, wanted)
        except (TarError, FileNotFoundError) as error:
            raise DatasetError(f"{shard}: {one_line(error)}; see `matrix_data verify`") from None


def _parts(stream: IO[bytes], row: IndexRow, wanted: Collection[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    place = row.offset
    while place < row.offset + row.bytes:
        stream.seek(place)
        name, size = parse_header(stream.read(BLOCK), place)
        suffix = name.removeprefix(f"{row.key}.")
        if suffix in wanted:
            found[suffix] = stream.read(size)
        place += padded(size)
    if len(found) != len(wanted):
        raise TarError(f"no whole entry of {row.key} at byte {row.offset}")
    return found


def parse(raw: RawEntry) -> Loaded:
    """An entry's records. Raises ValidationError."""
    sample = Sample.model_validate_json(raw.files["json"])
    return Loaded(sample, TrackFile.model_validate_json(raw.files["tracks.json"]), raw.files["mp4"])
