"""One build at a time on one folder. The lock is the operating system's, so a killed build leaves none behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.errors import UserError
from tasks.store.folder import Folder


@contextmanager
def build_lock(out: str) -> Iterator[None]:
    """Hold the folder's lock; UserError when another build, retry or gc holds it. Object stores have no such lock."""
    folder = Folder(out)
    if not folder.local:
        yield
        return
    path = Path(folder.root) / "work" / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"another build is at work in {folder.root}: wait for it to end, or give another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
