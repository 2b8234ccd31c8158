"""Files of this machine: written whole or not at all, by one process at a time, known by content, read by lines."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from matrix_train.errors import UserError
from schemas.text import one_line

LONGEST_LINE = 2**24
"""Bytes of a line of JSON; masks of five instances over a hundred frames are a tenth of that."""

T = TypeVar("T", bound=BaseModel)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path`, in a folder that is made where there is none: what is written there takes its place at the
    end; where that fails nothing stays, and what was at `path` before is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def held(folder: Path, file: str | None = None) -> Iterator[None]:
    """Alone at a folder, or at one file in it, beside which others may be made. A folder that stays empty goes again.

    UserError where nothing can be written there, or another process does.
    """
    made = [own for own in (folder, *folder.parents) if not own.exists()]
    lock = folder if file is None else folder / f".{file}.lock"
    if file is not None and (folder / file).is_dir():
        raise UserError(f"--out {folder / file}: is a folder: give the name of a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
        handle = os.open(lock, os.O_RDONLY if file is None else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        why = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"--out: nothing can be written to {folder}: {why}: give another place") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = folder if file is None else folder / file
            raise UserError(f"--out: another process writes to {where}: wait for it, or give another place") from None
        for left in folder.rglob(".*.part") if file is None else folder.glob(f".{Path(file).stem}.*.part"):
            left.unlink()  # of a process that was killed
        try:
            yield
        finally:
            if file is not None:
                lock.unlink(missing_ok=True)
    finally:
        os.close(handle)
        with suppress(OSError):  # holds something
            for own in made:
                own.rmdir()


def write_whole(path: Path, content: bytes | str) -> None:
    """The file appears whole or not at all; text in UTF-8."""
    with whole(path) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """As `write_whole`, of which one part is held at a time."""
    with whole(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        file.writelines(parts)


def write_json(path: Path, content: Any) -> None:
    """Records, lists and tables of them. The file appears whole or not at all."""
    write_whole(path, f"{_json(content)}\n")


def write_list(path: Path, records: Iterable[Any]) -> None:
    """A list of records, as `write_json`, of which one is held at a time."""
    lines = (f"{',' if k else '['}\n{_json(record)}" for k, record in enumerate(records))
    write_parts(path, chain(lines, ("\n]\n",)))


def _json(content: Any) -> str:
    return json.dumps(TypeAdapter(Any).dump_python(content, mode="json"), indent=2, ensure_ascii=False)


def json_lines(path: Path, form: type[T]) -> Iterator[tuple[int, T | str]]:
    """The lines of a file by number, from 1, each as its record or why it is none; blank ones are passed over.

    Lines end with a line feed alone: JSON may hold other breaks. A mark of byte order at the start of one is no part.
    """
    with path.open("rb") as file:
        for number, line in _lines(file):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if len(line) > LONGEST_LINE:
                yield number, f"longer than {LONGEST_LINE >> 20} MiB"
            elif text:
                try:
                    yield number, form.model_validate_json(text)
                except ValidationError as error:
                    # The parser counts lines of this line alone.
                    yield number, one_line(error).replace("at line 1 column", "at byte")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rest of one that is too long is passed over."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        yield number, line
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
