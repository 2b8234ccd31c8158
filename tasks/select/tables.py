"""Rows out of CSV, TSV, JSON, JSONL and Parquet files, with damage confined to the row it is in.

What a file is, its content says before its name does: compressed, encoded, Parquet under another ending. Text is
decoded with the offending bytes kept as lone surrogates, so that one bad byte does not cost the file. CSV, TSV, JSONL
and Parquet are streamed; JSON is read whole.
"""

import bz2
import codecs
import csv
import gzip
import hashlib
import io
import json
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import IO, cast

import pyarrow as pa

from tasks.errors import InfrastructureError, UserError
from tasks.select.cells import Cells, Choose
from tasks.select.csv_rows import csv_rows
from tasks.select.json_rows import json_rows, jsonl_rows
from tasks.select.parquet_rows import parquet_rows
from tasks.store.places import StorageOptions, open_source, without_credentials

_KINDS = {
    ".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".pq": "parquet",
}  # fmt: skip

_PACKED: dict[str, tuple[bytes, Callable[[IO[bytes]], object]]] = {
    ".gz": (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    ".bz2": (b"BZh", bz2.BZ2File),
    ".xz": (b"\xfd7zXZ\0", lzma.LZMAFile),
}
"""By ending: how such a file begins, and what unpacks it."""

_FOREIGN = {
    b"PK\x03\x04": "it is an Excel workbook or another ZIP archive: save the sheet as CSV UTF-8, or unpack it",
    b"\xd0\xcf\x11\xe0": "it is an Excel workbook: save the sheet as CSV UTF-8",
}


def table_kind(name: str) -> str | None:
    """csv, tsv, json, jsonl or parquet by the file's ending, compressed or not; None for anything else."""
    return _KINDS.get("." + _unpacked(name).rpartition(".")[2].lower())


def _unpacked(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in _PACKED else name


def read_table(uri: str, options: StorageOptions, choose: Choose) -> Generator[Cells, None, None]:
    """The rows of one file. UserError where it is no table at all, or may not be read; one line that says why."""
    shown = without_credentials(uri)
    kind = table_kind(uri) or "csv"
    try:
        with _opened(uri, options) as packed:
            stream = _unpack(packed)
            head = _head(stream)
            foreign = next((why for begin, why in _FOREIGN.items() if head.startswith(begin)), None)
            if foreign:
                raise ValueError(foreign)
            if head.startswith(b"PAR1") or kind == "parquet":
                kind = "parquet"
                yield from parquet_rows(stream, choose)
                return
            encoding = json.detect_encoding(head)  # by its mark, or by where the zero bytes are
            text = io.TextIOWrapper(cast(io.BufferedReader, stream), encoding, _SURROGATES, newline="")
            try:
                kind = _text_kind(head.decode(encoding, _SURROGATES), kind)
                yield from _text_rows(text, kind, choose, _unpacked(uri.rpartition("/")[2]).rpartition(".")[0])
            finally:
                text.detach()  # the stream is the caller's to close
    except (UserError, InfrastructureError):
        raise
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"the caption sidecar {shown} is damaged: it does not unpack ({error})") from error
    except (ValueError, csv.Error, RecursionError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the caption sidecar {shown} cannot be read as {kind}: {reason[:200]}") from error
    except OSError as error:
        if error.errno is not None:  # the disk's; what an unpacker finds has no number
            raise
        raise UserError(f"the caption sidecar {shown} is damaged: {error}") from error


def digest_of_file(uri: str, options: StorageOptions) -> bytes:
    """SHA-256 of a table's bytes. UserError where it may not be read."""
    with _opened(uri, options) as stream:
        return hashlib.file_digest(stream, "sha256").digest()  # type: ignore[arg-type]


@contextmanager
def _opened(uri: str, options: StorageOptions) -> Iterator[IO[bytes]]:
    try:
        with open_source(uri, options) as stream:
            yield stream
    except PermissionError as error:
        raise UserError(f"no permission to read the caption sidecar {without_credentials(uri)}") from error
    except FileNotFoundError as error:
        raise missing(without_credentials(uri)) from error


def missing(shown: str) -> UserError:
    """What is told of a sidecar that is not there: whoever makes one needs to know what belongs into it."""
    return UserError(
        f"the caption sidecar {shown} does not exist: give a table with the columns `video` (a file name) and "
        "`caption`, or leave --captions out with a profile whose captioner writes them, such as --profile laptop"
    )


def _head(stream: IO[bytes]) -> bytes:
    head = stream.read(4096)
    stream.seek(0)
    return head


def _unpack(stream: IO[bytes]) -> IO[bytes]:
    head = _head(stream)
    for magic, opened in _PACKED.values():
        if head.startswith(magic):
            return cast(IO[bytes], opened(stream))
    return stream


def _text_kind(head: str, named: str) -> str:
    """What text is, by its first character where that settles it: no other table begins with a bracket."""
    begin = head.lstrip("\ufeff \t\r\n")[:1]
    if begin == "[":
        return "json"
    if begin == "{":
        return named if named in ("json", "jsonl") else _one_or_many(head)
    return named


def _one_or_many(head: str) -> str:
    """JSONL where the first of several lines is an object of its own, else one JSON value."""
    first, *more = head.strip("\ufeff \t\r\n").splitlines()
    try:
        json.loads(first)
    except ValueError:
        return "json"
    return "jsonl" if more else "json"


def _text_rows(text: IO[str], kind: str, choose: Choose, stem: str) -> Iterator[Cells]:
    if kind == "jsonl":
        return jsonl_rows(text, choose)
    if kind == "json":
        return json_rows(text, choose, stem)
    return csv_rows(text, choose, tabs=kind == "tsv")


def _as_surrogates(error: UnicodeError) -> tuple[str, int]:
    """For decoders of any encoding what `surrogateescape` is for UTF-8: each bad byte as U+DC00 and its value."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


_SURROGATES = "matrix.surrogates"
codecs.register_error(_SURROGATES, _as_surrogates)
