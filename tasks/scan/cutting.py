"""The listing on record: what is at the source now, and the chunks into which its files are cut, once each.

A source is listed once a build. Whoever hashes a chunk's files reads its part of the listing and no more.
"""

import io
import itertools
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import UserError
from tasks.scan.listing import Found
from tasks.store.chunks import chunk_names, next_chunks
from tasks.store.folder import Folder

LISTED = "listed.parquet"
"""In the folder of a chunk: its files, as they were when it was cut."""

LISTING = "listing.parquet"
"""Beside the chunks: all files, as they were when the source was last listed."""

CHUNKS = "matrix.chunks"
"""In the footer of LISTING: how many chunks there were when it had been cut."""

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
    and one chunk. Where all is as it was listed last, which is how most nights are, nothing is read but that listing:
    it was put on record when all of it had been cut.
    """
    chunks, rest = chunk_names(scan.names()), iter(found)
    same, other = _as_before(rest, scan)
    if other is None and len(chunks) == _chunks_of(scan):
        return 0
    found = itertools.chain(itertools.islice(listing_of(scan), same), other or [], rest)
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
        if fresh:  # before the listing is whole: what it names has been cut
            scan.write(f"{next(names)}/{LISTED}", encode(fresh))
        listing.add_key_value_metadata({CHUNKS: str(len(chunks) + -(-(count + len(fresh)) // size))})
    return count + len(fresh)


def _as_before(found: Iterator[Found], scan: Folder) -> tuple[int, list[Found] | None]:
    """How many files are as they were listed last, in their order, and what was taken of `found` beyond them, if any.

    None where that is all, here and there.
    """
    same = 0
    try:
        for before in listing_of(scan):
            now = next(found, None)
            if now != before:
                return same, [now] if now else []
            same += 1
    except UserError:  # it is damaged: a new one takes its place
        return same, []
    beyond = list(itertools.islice(found, 1))
    return same, beyond or None


def _chunks_of(scan: Folder) -> int:
    """Into how many chunks the listing was cut; -1 without one."""
    if not scan.exists(LISTING):
        return -1
    noted = pq.ParquetFile(io.BytesIO(scan.read(LISTING))).metadata.metadata or {}
    return int(noted.get(CHUNKS.encode(), -1))


def _some(found: Iterable[Found], size: int) -> Iterator[list[Found]]:
    rest = iter(found)
    while some := list(itertools.islice(rest, size)):
        yield some


def files_of(chunk: Folder) -> Iterator[Found]:
    """The files of a chunk. UserError where its listing is damaged: only that says what the chunk's rows are of."""
    return _decode(chunk, LISTED)


def listing_of(scan: Folder) -> Iterator[Found]:
    """All files at the last listing; none where there was none yet."""
    if scan.exists(LISTING):
        yield from _decode(scan, LISTING)


def encode(found: Iterable[Found]) -> bytes:
    """Files as they lie in LISTED."""
    buffer = io.BytesIO()
    pq.write_table(_table(found), buffer, compression="zstd")
    return buffer.getvalue()


def _table(found: Iterable[Found]) -> pa.Table:
    files = list(found)
    return pa.table({name: [getattr(file, name) for file in files] for name in _SCHEMA.names}, schema=_SCHEMA)


def _decode(folder: Folder, name: str) -> Iterator[Found]:
    data = io.BytesIO(folder.read(name))
    try:
        for batch in pq.ParquetFile(data).iter_batches(4096):
            yield from map(Found, *(batch[field].to_pylist() for field in Found.__match_args__))
    except (pa.ArrowInvalid, KeyError, OSError):  # of bytes that cannot be decompressed Arrow makes an OSError
        raise UserError(
            f"{folder.shown(name)} is damaged: put it back from a backup, or build into another --out"
        ) from None
