"""One build at a time on one folder. The lock is the operating system's, so a killed build leaves none behind.

Who holds it may take files of the store away; everyone else only looks and adds (tasks/store/rows.py).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.errors import UserError
from tasks.store.folder import Folder

_held: Counter[str] = Counter()
"""Roots of the stores whose lock this process holds."""


@contextmanager
def build_lock(out: str) -> Iterator[None]:
    """Hold the folder's lock. Object stores have none: there it is on the user to run one build at a time.

    UserError when another build, retry or gc holds it, and where nothing can be written.
    """
    work = Folder(out).below("work")
    lock = _locked(Path(work.root)) if work.local else None
    _held[work.root] += 1
    try:
        yield
    finally:
        _held[work.root] -= 1
        if lock:
            lock.release()


def _locked(work: Path) -> FileLock:
    lock = FileLock(work / ".lock", timeout=0)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"another build is at work in {work.parent}: wait for it to end, or give another --out"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write to {work.parent}: {error.strerror or error}; give another --out") from None
    return lock


def require_lock(work: Folder) -> None:
    """AssertionError unless this process holds the lock of the build whose store `work` is."""
    if not _held[work.root]:
        raise AssertionError(f"{work.root}: files are taken away only under the build's lock")
