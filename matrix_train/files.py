"""Files of this machine: written whole or not at all, and known by their content."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path`, in a folder that is made where there is none: what is written there takes its place at the
    end; where that fails nothing stays, and what was at `path` before is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """The file appears whole or not at all; text in UTF-8."""
    with whole(path) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
