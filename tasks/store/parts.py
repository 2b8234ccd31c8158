"""One part of a stage's results: a Parquet file of rows with a checksum a page. How it is written, opened and judged.

Three things can be wrong with a part, and each has another remedy:
- its bytes: `DamagedPart`. The footer, a checksum or the length is not what was written;
- its columns: UserError. Another version wrote it, and only its reader can say what its rows mean;
- the way to it: OSError or InfrastructureError. The disk or the network failed, which says nothing about the part.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from schemas import Row
from schemas.arrow import arrow_schema
from schemas.text import one_line
from tasks.errors import InfrastructureError, UserError
from tasks.store.folder import Folder
from tasks.store.legs import Leg, merged

PART, FAIL, TORN = "part-", "fail-", "torn-"
"""Begins of names: rows that are ends, attempts that broke in their own way, damaged parts that were set aside."""

ROW_GROUP = 64
"""Rows per Parquet row group: reading one batch out of a compacted part costs a few groups, not the part."""

AT_ONCE = 16
"""Rows converted to or from Arrow at once: one with masks is large, and what memory a thread once took it keeps."""

_LEGS, _LEGS_FORM = b"matrix.legs", TypeAdapter(tuple[Leg, ...])
"""Key in the footer, and how its value reads."""

LIGHT = ("key", "status", "reason", "seconds", "usage")
"""Columns that an index reads."""


class DamagedPart(InfrastructureError):
    """The bytes of a part are not those that were written. Its clips are pending."""


class Glance(NamedTuple):
    """What an index takes from a part."""

    columns: dict[str, list[Any]]
    """The light columns, and `payload` cut down to the link's leaf where the stage has a link."""
    groups: list[int]
    """Rows per row group."""
    legs: tuple[Leg, ...]
    """What the work on them took."""


class _Stream:
    """A stream that remembers what reading it raised: that is the file system's doing, whatever its type.

    Arrow finds damage with the same types (an OSError without a number, as fsspec's time-outs are too).
    """

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.failure: Exception | None = None
        self.tell = stream.tell
        self.close = stream.close

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as error:
            self.failure = error
            raise

    def seek(self, place: int, whence: int = 0) -> int:
        try:
            return self._stream.seek(place, whence)
        except Exception as error:
            self.failure = error
            raise


@contextmanager
def open_part(folder: Folder, name: str, row_type: type[Row[Any]] | None) -> Iterator[pq.ParquetFile]:
    """A part for reading; what is read within the block is judged too. row_type: what it must hold; None for any.

    Raises DamagedPart, UserError and OSError or InfrastructureError as the module says; FileNotFoundError where it is
    gone.
    """
    try:
        opened = folder.open(name)
    except Exception as error:
        _pass_on(folder, name, error)
    stream = _Stream(opened)
    try:
        with opened:
            part = pq.ParquetFile(stream, page_checksum_verification=True)
            if row_type is not None:
                _check_columns(folder.path(name), part, row_type)
            yield part
    except (MemoryError, pa.ArrowCancelled):
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if stream.failure is None:
            raise DamagedPart(
                f"{folder.path(name)} is damaged ({_told(error)}): its clips are pending, and the next build sets it "
                "aside and does them again"
            ) from error
        _pass_on(folder, name, stream.failure)
    except Exception as error:
        if error is not stream.failure:
            raise
        _pass_on(folder, name, error)


def _pass_on(folder: Folder, name: str, failure: Exception) -> NoReturn:
    """Raise a failure of the file system: in its own words where they are ours, which name the file."""
    if isinstance(failure, OSError | InfrastructureError | UserError):
        raise failure
    raise InfrastructureError(f"{folder.path(name)}: {_told(failure)}") from failure  # a library has types of its own


def _told(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 200)


def _check_columns(path: str, part: pq.ParquetFile, row_type: type[Row[Any]]) -> None:
    sizes = (part.metadata.row_group(g).num_rows for g in range(part.num_row_groups))
    if part.schema_arrow.equals(arrow_schema(row_type)) and max(sizes, default=0) <= ROW_GROUP:
        return
    raise UserError(
        f"{path} was written by another version of matrix_data: use that version, give another --out, or move this "
        "file elsewhere to have its clips done again"
    )


def glance(part: pq.ParquetFile, link_column: str | None) -> Glance:
    """The light columns of all rows, without the payload but for the leaf of `link_column`."""
    columns = [*LIGHT, *([link_column] if link_column else [])]
    groups = [part.metadata.row_group(g).num_rows for g in range(part.num_row_groups)]
    return Glance(part.read(columns=columns, use_threads=False).to_pydict(), groups, _legs_of(part))


def _legs_of(part: pq.ParquetFile) -> tuple[Leg, ...]:
    noted = (part.metadata.metadata or {}).get(_LEGS, b"[]")
    try:
        return _LEGS_FORM.validate_json(noted)
    except ValidationError as error:
        raise pa.ArrowInvalid(f"its footer: {error.error_count()} faults") from None


def distinct(part: pq.ParquetFile, path: str) -> set[str]:
    """The texts at a leaf, each once."""
    column = part.read(columns=[path], use_threads=False).column(0)
    for name in path.split(".")[1:]:
        column = pc.struct_field(column, name)
    return set(pc.unique(column).drop_null().to_pylist())


def rows_of(
    part: pq.ParquetFile, wanted: Mapping[int, set[int]], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Rows by row group and place in it, in the part's order: AT_ONCE or fewer at a time, of some leaves a group."""
    at_once = AT_ONCE if columns is None else ROW_GROUP
    for group, places in wanted.items():
        first = 0
        # Batches run side by side: more threads for one cost processor time and bring nothing.
        for piece in part.iter_batches(at_once, row_groups=[group], columns=columns, use_threads=False):
            piece.validate(full=True)  # a footer has no checksum: what it leads to may be no text
            chosen = [i for i in range(len(piece)) if first + i in places]
            first += len(piece)
            if chosen:
                table = pa.Table.from_batches([piece])
                yield table if len(chosen) == len(piece) else table.take(chosen)


def read_through(part: pq.ParquetFile) -> None:
    """Read every page and what the footer tells, and keep nothing."""
    _legs_of(part)
    for piece in part.iter_batches(AT_ONCE, use_threads=False):
        piece.validate(full=True)


def write_part(stream: IO[bytes], tables: Iterable[pa.Table], schema: pa.Schema, legs: Iterable[Leg]) -> None:
    """Write tables as one part, a row group in memory at a time: groups of ROW_GROUP rows and a smaller last one.

    legs: what the work on the rows took.
    """
    with pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
        held: list[pa.Table] = []
        for table in tables:
            rows = pa.concat_tables([*held, table])
            whole = len(rows) - len(rows) % ROW_GROUP
            if whole:
                writer.write_table(rows[:whole], row_group_size=ROW_GROUP)
            # Not an empty table, which would keep all that it is a part of.
            held = [rows[whole:]] if whole < len(rows) else []
        if held:
            writer.write_table(pa.concat_tables(held))
        if noted := merged(legs):
            writer.add_key_value_metadata({_LEGS: _LEGS_FORM.dump_json(noted)})
