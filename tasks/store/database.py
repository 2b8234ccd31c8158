"""Small values by key in one SQLite file of a folder: nothing that a build needs, but worth money, as kept replies are.

On disk the file `live.sqlite` is written at once, with a write-ahead log: any number of threads and processes of one
machine share it, and a kill at any moment loses nothing that was put. A bucket cannot hold a file that is written to.
There the values come down when they are first asked for, into a private temporary database that leaves nothing behind;
what is new goes up every HAND_OVER_S seconds as a small file of its own, whole or absent, and at the end all of it as
one, named by its content, in the place of those that it was made of. Files are only ever replaced by one that holds
all of theirs, so several writers at once lose nothing of each other, whoever holds which lease.

A file that cannot be read is set aside as `torn-…`, with a line in `told`.
"""

import errno
import hashlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from schemas.text import one_line
from tasks.errors import InfrastructureError
from tasks.store.folder import TEMPORARY, Folder
from tasks.store.parts import TORN

T = TypeVar("T")
Rows = Iterable[tuple[str, bytes]]

LIVE, ENDING = "live.sqlite", ".sqlite"
"""The file that is written to, on disk; the end of every file's name."""

HAND_OVER_S = 30.0
"""How often a bucket gets what is new: what a killed process has put since the last time is lost."""

BUSY_S = 60.0
"""How long another process may hold the file."""

_TABLE = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL)"
_PUT = "INSERT OR REPLACE INTO kept VALUES (?, ?)"
_ALL = "SELECT key, value FROM kept ORDER BY key"


class Database:
    """Opened on first use. Safe for threads.

    Whatever touches the disk or the bucket raises OSError or InfrastructureError where that fails; never for damage.
    """

    def __init__(self, folder: Folder) -> None:
        """folder: of its own."""
        self.folder = folder
        self.told: list[str] = []
        """What was found damaged, a line each."""
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._files: list[str] = []
        """In a bucket: the files whose values are here."""
        self._fresh = set[str]()
        """In a bucket: keys that none of these files holds."""
        self._forgotten = False
        self._handed_over = 0.0

    def get(self, key: str) -> bytes | None:
        row = self._ask(lambda db: db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone())
        return None if row is None else bytes(row[0])

    def put(self, key: str, value: bytes) -> None:
        """On disk it is there for good when this returns; a power cut may take the last ones."""
        with self._lock:
            self._ask(lambda db: db.execute(_PUT, (key, value)))
            if not self.folder.local:
                self._fresh.add(key)
                if time.monotonic() > self._handed_over + HAND_OVER_S:
                    self._hand_over()

    def forget(self, key: str) -> None:
        """Absent is fine."""
        with self._lock:
            self._ask(lambda db: db.execute("DELETE FROM kept WHERE key = ?", (key,)))
            self._fresh.discard(key)
            self._forgotten = True

    def gather(self) -> None:
        """Put what several processes have left in a bucket into one file."""
        self._ask(lambda _: None)
        self.close()

    def close(self, gather: bool = True) -> None:
        """Leave one whole file behind; the next use opens it anew.

        gather: in a bucket; else what is new goes to a file of its own, for whoever gathers them.
        """
        with self._lock:
            if self._db is None:
                return
            try:
                if self.folder.local:
                    with suppress(sqlite3.Error):  # another process has it open, or it is damaged: the next one sees
                        self._db.execute("PRAGMA journal_mode = DELETE")
                elif gather and (len(self._files) + bool(self._fresh) > 1 or self._forgotten):
                    old, self._files = self._files, []
                    name = self._upload(self._db.execute(_ALL))
                    for file in old:
                        if file != name:
                            self.folder.remove(file)
                else:
                    self._hand_over()
            finally:
                self._db.close()
                self._db, self._files, self._fresh, self._forgotten = None, [], set(), False

    def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                try:
                    return work(self._opened())
                except sqlite3.DatabaseError as error:
                    if not _damaged(error) or not self.folder.local:
                        raise
                    self._set_live_aside(error)
                    return work(self._opened())
            except sqlite3.Error as error:
                raise _told(error, self.folder.shown(LIVE)) from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._open_live() if self.folder.local else self._connect("")
            self._handed_over = time.monotonic()
            for name in self.folder.names():
                open_already = self.folder.local and name == LIVE
                if name.endswith(ENDING) and not (open_already or name.startswith((TORN, TEMPORARY))):
                    self._take_in(self._db, name)
        return self._db

    def _connect(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        db.execute(_TABLE)
        return db

    def _open_live(self) -> sqlite3.Connection:
        path = Path(self.folder.path(LIVE))
        path.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + BUSY_S
        while True:
            db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")  # flushed now and then, and never torn
                db.execute(_TABLE)
                _check(db)
                return db
            except sqlite3.OperationalError as error:
                db.close()
                # SQLite does not wait where two change the kind of log at once.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            except BaseException:
                db.close()
                raise

    def _take_in(self, db: sqlite3.Connection, name: str) -> None:
        """Add the values of a file: one out of a bucket, or one that was left when the folder was moved out of one."""
        try:
            rows = values_of(self.folder.read(name))
        except FileNotFoundError:  # gathered meanwhile: what is missed is asked for again
            return
        except sqlite3.DatabaseError as error:
            self.folder.move(name, f"{TORN}{name}")
            self.told.append(_aside(self.folder, name, error))
            return
        with db:
            db.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?)", rows)
        if self.folder.local:
            self.folder.remove(name)
        else:
            self._files.append(name)

    def _set_live_aside(self, error: sqlite3.Error) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        aside = f"{TORN}{uuid.uuid4().hex[:8]}-{LIVE}"
        path = Path(self.folder.path(LIVE))
        for part in ("-wal", "-shm", ""):  # the log first: without its file it means nothing
            with suppress(FileNotFoundError):  # another thread or process found it too
                path.with_name(LIVE + part).replace(path.with_name(aside + part))
        self.told.append(_aside(self.folder, LIVE, error))

    def _hand_over(self) -> None:
        """Give the bucket what it lacks."""
        self._handed_over = time.monotonic()
        if self._db is not None and self._fresh:
            self._upload((key, self._db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()[0])
                         for key in sorted(self._fresh))  # fmt: skip
            self._fresh = set()

    def _upload(self, rows: Rows) -> str:
        with closing(self._connect(":memory:")) as part:
            part.executemany(_PUT, rows)
            data = part.serialize()
        name = hashlib.sha256(data).hexdigest()[:16] + ENDING
        self.folder.write(name, data)
        self._files.append(name)
        return name


def values_of(data: bytes) -> list[tuple[str, bytes]]:
    """What the bytes of a whole file hold. sqlite3.DatabaseError where they are damaged."""
    with closing(sqlite3.connect(":memory:")) as part:
        # Copied while somebody wrote, a file asks for its log (SQLite's file format, bytes 18 and 19).
        part.deserialize(data[:18] + b"\1\1" + data[20:])
        _check(part)
        return [(str(key), bytes(value)) for key, value in part.execute(_ALL)]


def damage_of(folder: Folder, name: str) -> str:
    """What is wrong with a file of a database, in a line; empty where it can be read."""
    try:
        if not folder.local:
            values_of(folder.read(name))
            return ""
        # With its log, which a killed process may have left; never made where it is not.
        where = f"file:{quote(folder.path(name))}?mode=rw"
        with closing(sqlite3.connect(where, timeout=BUSY_S, uri=True)) as db:
            _check(db)
            db.execute(_ALL).fetchone()
    except sqlite3.DatabaseError as error:
        if not _damaged(error):
            raise _told(error, folder.shown(name)) from error
        return str(error)
    return ""


def _check(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(one_line(found, 200))
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept'").fetchone():
        raise sqlite3.DatabaseError("it holds something else")


def _damaged(error: sqlite3.Error) -> bool:
    """Whether the file's bytes are at fault. What we raise on our own has no code."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _aside(folder: Folder, name: str, error: sqlite3.Error) -> str:
    return f"{folder.shown(name)} was damaged ({error}) and is set aside: what it held is asked again"


def _told(error: sqlite3.Error, shown: str) -> Exception:
    """A failure of SQLite as one of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    system = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO, sqlite3.SQLITE_READONLY: errno.EROFS}
    if code in system:
        return OSError(system[code], str(error), shown)
    return InfrastructureError(f"{shown}: {error}")
