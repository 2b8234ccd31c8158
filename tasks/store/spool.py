"""Files of buckets that were fetched to be hashed, kept on this machine until they are decoded, so that each is fetched
once. Bounded, shared by all processes, and nothing that a build needs: what is not here is fetched again.

`.part-…` is being written: its writer holds the system's lock on it, so that what a killed process left is known by
having none. `<sha256>` is whole. Room is given out under the folder's own lock, by the size that a file will have.
"""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import InfrastructureError, Reject, UserError
from tasks.store import trying
from tasks.store.remote import Remote

PART = ".part-"

STALE_S = 24 * 3600.0
"""What nobody has come for in this time makes room for others: its build has ended."""

PASSED_OVER_S = 600.0
"""What was kept so long before a file that has been taken since makes room too: select has probably rejected it."""

counted = Counter[str]()
"""Of this process: files `kept`, `taken` from the spool, and `fetched_again` for they were not there (any more)."""

_told, _telling = Counter[str](), threading.Lock()


def newly_counted() -> dict[str, int]:
    """What was counted since the last call. Of each count one caller hears."""
    with _telling:
        fresh = counted - _told
        _told.update(fresh)
    return dict(fresh)


class Place:
    """A file under way in a spool. It goes away with the block unless it was kept."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        os.ftruncate(self.handle, size)  # holds the room without filling it

    def begin(self) -> None:
        """From the start, also again."""
        os.lseek(self.handle, 0, os.SEEK_SET)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.handle, data) :]

    def end(self) -> None:
        """Nothing more comes: what was written is all."""
        os.ftruncate(self.handle, os.lseek(self.handle, 0, os.SEEK_CUR))

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.handle)


class Spool:
    """The spool in a folder, with room for `limit` bytes. UserError where the folder is not ours to use."""

    def __init__(self, folder: str | None, limit: int) -> None:
        self.folder = Path(folder or Path(tempfile.gettempdir()) / f"matrix-11k-{os.getuid()}")
        self.limit = limit
        self._passed = self.folder / ".taken"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_uid != os.getuid():
                raise PermissionError("it belongs to somebody else")
            (self.folder / ".lock").touch(0o600)
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"no files can be kept in {self.folder} ({why}); set scan.spool_folder") from error

    @contextmanager
    def place(self, size: int, whatever: bool = False) -> Iterator[Place | None]:
        """Where a file of that size can be written; None where there is no room. whatever: also beyond the limit."""
        place = None
        with self._alone():
            used = self._tidied()
            if used + size > self.limit and not whatever:
                used = self._tidied(self._useless())
            if used + size <= self.limit or whatever:
                place = Place(self.folder / f"{PART}{uuid.uuid4().hex}", size)
        try:
            yield place
        finally:
            if place is not None:
                place.close()

    def keep(self, place: Place, digest: str) -> None:
        """Have a whole file wait for `take`."""
        place.path.replace(self.folder / digest)
        counted["kept"] += 1

    @contextmanager
    def take(self, digest: str) -> Iterator[Path | None]:
        """A kept file, None where there is none. It goes when the block ends well, or in a Reject."""
        path = self.folder / digest
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)  # so that nobody makes room of it
            if not path.exists():  # somebody did meanwhile
                yield None
                return
            try:
                yield path
            except Reject:
                path.unlink(missing_ok=True)
                raise
            path.unlink(missing_ok=True)
            counted["taken"] += 1
            self._passed.touch(0o600)
            os.utime(self._passed, (kept := os.fstat(handle).st_mtime, kept))
        finally:
            os.close(handle)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _useless(self) -> float:
        """Files that were kept before this time make room."""
        taken = self._passed.stat().st_mtime if self._passed.exists() else 0.0
        return max(time.time() - STALE_S, taken - PASSED_OVER_S)

    def _tidied(self, older_than: float = 0.0) -> int:
        """Bytes that are spoken for, after what has no writer, or was kept before that time, is taken away."""
        used = 0
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):  # taken meanwhile
                part, facts = entry.name.startswith(PART), entry.stat()
                if entry.name in (".lock", ".taken"):
                    continue
                if not (part or facts.st_mtime < older_than) or not _let_go(entry.path):
                    used += facts.st_size
        return used


def _let_go(path: str) -> bool:
    """Remove a file unless somebody holds its lock."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(path).unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def fetch(
    remote: Remote,
    path: str,
    place: Place | None,
    size: int | None = None,
    version: str | None = None,
    look: Callable[[bytes], None] = lambda _: None,
) -> tuple[str, int, bool]:
    """Read a whole file into `place`: its sha256, its size, and whether all of it is there.

    A full disk is no failure where nothing but the digest is needed: then `place` is left. look: sees the first bytes,
    and may end it by raising. The rest is as with `Remote.fetch`, tried again where a server of the web breaks off.
    """
    for number in range(trying.TRIES):
        digest, got, whole = hashlib.sha256(), 0, place is not None
        try:
            if place is not None:
                place.begin()
            for piece in remote.fetch(path, size, version):
                if not got:
                    look(piece)
                got += len(piece)
                digest.update(piece)
                if whole and place is not None:
                    whole = _written(place, piece)
            if place is not None:
                place.end()
            return digest.hexdigest(), got, whole
        except trying.BrokenOffError as error:
            broken = error
            time.sleep(trying.FIRST_WAIT_S * 2**number)
    raise InfrastructureError(f"{remote.shown(path)} broke off {trying.TRIES} times") from broken


def _written(place: Place, piece: bytes) -> bool:
    try:
        place.write(piece)
    except OSError:  # of this disk, and not of the file that is fetched
        return False
    return True
