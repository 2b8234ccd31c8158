"""What a command writes: each file whole or not at all, in a place that no other process writes to meanwhile.

    with held(out):                              # or held(out.parent, out.name)
        with whole(out / "v.mp4") as scratch:
            scratch.write_bytes(…)

A process that is killed leaves its scratch file, which the next one to write that file replaces: it goes by the file's
name alone.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from matrix_train.errors import UserError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The scratch file to write, which becomes `path` at the end and goes where the writing fails. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
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
