"""Rows out of CSV, TSV, JSON, JSONL and Parquet files, with damage confined to the row it is in.

Text is decoded row by row with the offending bytes kept as lone surrogates, so that one bad byte does not cost the
file. CSV, JSONL and Parquet are streamed; JSON is read whole.
"""

import csv
import io
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import InfrastructureError, UserError
from tasks.store.places import StorageOptions, open_source, without_credentials

csv.field_size_limit(1 << 24)  # the module's own 128 KiB would end a whole file over one long caption

HEADER_ROWS = 200
"""Objects of a JSONL file whose keys count as its header."""

_KINDS = {
    ".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True)
class Cells:
    """One row: plain values by column name. `problem` where the row itself is damaged."""

    place: str
    header: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    stem: str | None = None
    """The file's own stem, where the file is about one video only."""


def table_kind(name: str) -> str | None:
    """csv, tsv, json, jsonl or parquet by the file's ending; None for anything else."""
    return _KINDS.get("." + name.rpartition(".")[2].lower())


def read_table(uri: str, options: StorageOptions) -> Generator[Cells, None, None]:
    """The rows of one file. UserError where it is no table at all, or may not be read."""
    shown = without_credentials(uri)
    try:
        with open_source(uri, options) as stream:
            kind = table_kind(uri) or _sniff(stream)
            stem = uri.rpartition("/")[2].rpartition(".")[0]
            if kind == "parquet":
                yield from _parquet(stream)
            elif kind == "jsonl":
                yield from _jsonl(stream)
            elif kind == "json":
                yield from _json(stream, stem)
            else:
                yield from _csv(stream, "\t" if kind == "tsv" else None)
    except (UserError, InfrastructureError):
        raise
    except PermissionError as error:
        raise UserError(f"no permission to read the caption sidecar {shown}") from error
    except FileNotFoundError as error:
        raise UserError(f"the caption sidecar {shown} does not exist") from error
    except (ValueError, csv.Error, RecursionError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the caption sidecar {shown} cannot be read as {kind}: {reason[:200]}") from error


def _sniff(stream: IO[bytes]) -> str:
    head = stream.read(4096)
    stream.seek(0)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return "jsonl" if text.startswith(b"{") else "json" if text.startswith(b"[") else "csv"


def _csv(stream: IO[bytes], delimiter: str | None) -> Iterator[Cells]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        if delimiter is None:
            first = text.readline()
            text.seek(0)
            delimiter = max(",;\t|", key=lambda d: (first.count(d), d == ","))
        reader = csv.reader(text, delimiter=delimiter)
        header = tuple(next(reader, ()))
        for cells in reader:
            if not cells:
                continue
            problem = None
            if len(cells) != len(header):
                problem = f"the row has {len(cells)} cells under {len(header)} columns"
            yield Cells(f"line {reader.line_num}", header, dict(zip(header, cells, strict=False)), problem)
    finally:
        text.detach()  # the stream is the caller's to close


def _jsonl(stream: IO[bytes]) -> Iterator[Cells]:
    lines = ((n, _line(raw)) for n, raw in enumerate(stream, 1) if raw.strip())
    first = list(itertools.islice(lines, HEADER_ROWS))
    header = _keys(value for _, value in first)
    if first and not header:
        raise ValueError("no line is a JSON object")
    for number, value in itertools.chain(first, lines):
        yield _cells(f"line {number}", header, value)


def _line(raw: bytes) -> Any:
    try:
        return json.loads(raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _keys(rows: Iterable[Any]) -> tuple[str, ...]:
    """The keys of all objects among `rows`, in order of appearance."""
    return tuple(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))


def _cells(place: str, header: tuple[str, ...], value: Any) -> Cells:
    if isinstance(value, dict):
        return Cells(place, header, value)
    return Cells(place, header, problem="not a JSON object")


def _json(stream: IO[bytes], stem: str) -> Iterator[Cells]:
    text = stream.read().decode("utf-8-sig", "surrogateescape")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from _jsonl(io.BytesIO(text.encode("utf-8", "surrogateescape")))  # JSONL under the wrong name
        return
    if isinstance(data, list):
        yield from _objects(data)
    elif isinstance(data, dict) and data and all(isinstance(v, dict) for v in data.values()):
        yield from _objects([{"video": name, **value} for name, value in data.items()])
    elif isinstance(data, dict) and any("caption" in str(k).casefold() for k in data):
        yield Cells("", (*data, "video_id"), data, stem=stem)  # about the video of the same name
    elif isinstance(data, dict) and all(isinstance(v, str) for v in data.values()):
        yield from _objects([{"video": name, "caption": text} for name, text in data.items()])
    else:
        raise ValueError("expected a list of objects, or an object of captions by video")


def _objects(rows: list[Any]) -> Iterator[Cells]:
    header = _keys(rows)
    if rows and not header:
        raise ValueError("the list holds no objects")
    for number, row in enumerate(rows, 1):
        yield _cells(f"entry {number}", header, row)


def _parquet(stream: IO[bytes]) -> Iterator[Cells]:
    table = pq.ParquetFile(stream)
    kinds = {f.name: f.type for f in table.schema_arrow}
    plain = [n for n, t in kinds.items() if pa.types.is_integer(t) or _is_text(t)]  # not the videos themselves
    header, number = tuple(kinds), 0
    for batch in table.iter_batches(batch_size=4096, columns=plain):
        # As bytes: Arrow would refuse a whole column for one string that is no UTF-8.
        columns = [
            batch.column(n).cast(pa.large_binary()) if _is_text(kinds[n]) else batch.column(n) for n in plain
        ]  # fmt: skip
        for row in zip(*(c.to_pylist() for c in columns), strict=True):
            number += 1
            values = {
                n: v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v
                for n, v in zip(plain, row, strict=True)
            }
            yield Cells(f"row {number}", header, values)


def _is_text(kind: pa.DataType) -> bool:
    dictionary = pa.types.is_dictionary(kind)
    return bool(pa.types.is_string(kind.value_type if dictionary else kind) or pa.types.is_large_string(kind))
