"""The listing on record: what is at the source now, and the chunks into which its files are cut, once each.

A source is listed once a build. Whoever hashes a chunk's files reads its part of the listing and no more.
"""

import io
import itertools
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.scan.listing import Found
from tasks.store.chunks import chunk_names, next_chunks
from tasks.store.folder import Folder

LISTED = "listed.parquet"
"""In the folder of a chunk: its files, as they were when it was cut."""

LISTING = "listing.parquet"
"""Beside the chunks: all files, as they were when the source was last listed."""

_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("known", pa.bool_(), nullable=False),
    ]
)


def cut_listing(found: Iterable[Found], scan: Folder, size: int) -> int:
    """Put a listing on record, and what is new in it into chunks of `size` files or fewer; returns how many are new.

    scan: the stage's folder under its fingerprint. The caller keeps others out. No more is held than the keys on record
    and one chunk.
    """
    chunks = chunk_names(scan.names())
    known = {int(file.key, 16) for name in chunks for file in files_of(scan.below(name))}
    names, count = next_chunks(chunks), 0
    fresh: list[Found] = []
    with scan.create(LISTING) as stream, pq.ParquetWriter(stream, _SCHEMA, compression="zstd") as listing:
        for some in _some(found, 4096):
            listing.write_table(_table(some))
            fresh += [file for file in some if int(file.key, 16) not in known]
            while len(fresh) >= size:
                scan.write(f"{next(names)}/{LISTED}", encode(fresh[:size]))
                fresh, count = fresh[size:], count + size
        if fresh:
            scan.write(f"{next(names)}/{LISTED}", encode(fresh))
    return count + len(fresh)


def _some(found: Iterable[Found], size: int) -> Iterator[list[Found]]:
    rest = iter(found)
    while some := list(itertools.islice(rest, size)):
        yield some


def files_of(chunk: Folder) -> Iterator[Found]:
    """The files of a chunk."""
    return _decode(chunk.read(LISTED))


def listing_of(scan: Folder) -> Iterator[Found]:
    """All files at the last listing; none where there was none yet."""
    if scan.exists(LISTING):
        yield from _decode(scan.read(LISTING))


def encode(found: Iterable[Found]) -> bytes:
    """Files as they lie in LISTED."""
    buffer = io.BytesIO()
    pq.write_table(_table(found), buffer, compression="zstd")
    return buffer.getvalue()


def _table(found: Iterable[Found]) -> pa.Table:
    files = list(found)
    return pa.table({name: [getattr(file, name) for file in files] for name in _SCHEMA.names}, schema=_SCHEMA)


def _decode(data: bytes) -> Iterator[Found]:
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(4096):
        yield from map(Found, *(batch[name].to_pylist() for name in Found.__match_args__))
