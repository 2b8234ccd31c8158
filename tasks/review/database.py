"""Where the journal's tables lie: an SQLite file, or a PostgreSQL by its URL. One schema, one set of statements.

Statements are SQL that both know, with `?` for what is given. Of SQLite the threads of a process take turns; of
PostgreSQL each has a connection of its own, served by a loop in one thread: asyncpg, which Prefect brings along, is
asynchronous. SQLAlchemy's statements would take ten times SQLite's own time for a decision (docs/review.md).
"""

import asyncio
import itertools
import re
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks.errors import InfrastructureError, UserError
from tasks.store.folder import make_folder

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Execute = Callable[..., Rows]
"""Of a statement and what is given to it, the rows that it returns."""

_TABLES = """
create table if not exists patches (
  clip {name} not null, reviewer {name} not null, seq integer not null, at double precision not null,
  op text not null, was text not null, tracks text not null, primary key (clip, reviewer, seq)
) {how};
create table if not exists claims (
  clip {name} primary key, reviewer {name} not null, until double precision not null
) {how};
create table if not exists users (name {name} primary key, role text not null, token text not null) {how};
"""

_URL = re.compile(
    r"postgresql://([\w.-]+@)?([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?/[\w-]+(\?sslmode=[a-z-]+)?", re.ASCII
)


def refuse_password(url: str) -> str:
    """`url`, where it is of a form that has no room for a password; UserError, which does not repeat it, elsewhere."""
    if not _URL.fullmatch(url):
        raise UserError(
            "review.journal: write postgresql://USER@HOST:PORT/DATABASE, with ?sslmode=require where wanted; a "
            "password would go on record: give it as PGPASSWORD, or in ~/.pgpass"
        )
    return url


class Database(Protocol):
    for_update: str
    """What a select ends with whose rows nobody else may change until the transaction ends."""

    def exists(self) -> bool:
        """Whether there may be something to read."""

    def read(self, sql: str, *given: object) -> Rows: ...

    def writing(self) -> AbstractContextManager[Execute]:
        """A transaction: all that is executed in it, or nothing where its body raises."""

    def close(self) -> None: ...


LOCKED_S = 30.0
"""Seconds that one waits for another process that writes to the same file."""


class File:
    """A file of SQLite, made at the first writing. InfrastructureError where it is gone, locked for long, or full."""

    for_update = ""  # whoever writes has the whole file

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of what is open."""

    def exists(self) -> bool:
        return self._db is not None or self.path.exists()

    def read(self, sql: str, *given: object) -> Rows:
        with self._lock, self._told():
            return self._opened().execute(sql, given).fetchall()

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        if self._db is None:
            make_folder(self.path.parent)
        with self._lock, self._told():
            db = self._opened()
            db.execute("begin immediate")
            try:
                yield self.read
                db.execute("commit")
            except BaseException:
                if db.in_transaction:  # a disk that is full has ended it already
                    db.execute("rollback")
                raise

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            # Other processes read on beside one that writes; what was answered for is on the disk (synchronous full).
            db = sqlite3.connect(self.path, timeout=LOCKED_S, isolation_level=None, check_same_thread=False)
            db.execute("pragma journal_mode = wal")
            db.executescript(_TABLES.format(name="text", how="without rowid"))
            self._db, self._file = db, self._identity()
        elif self._file != self._identity():  # whatever is written now would go into a file that nobody finds
            raise InfrastructureError("the journal was removed or replaced while it was open: start the page again")
        return self._db

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise InfrastructureError(f"the journal could not be read or written: {error}") from error

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


class Server:
    """A PostgreSQL. InfrastructureError in one line where it does not answer or refuses; the next call tries anew."""

    for_update = " for update"

    def __init__(self, url: str) -> None:
        self.url = refuse_password(url)
        self._lock = threading.Lock()
        self._pool: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="journal", daemon=True)
        self._thread.start()

    def exists(self) -> bool:
        return True

    def read(self, sql: str, *given: object) -> Rows:
        return self._rows(self._opened(), sql, *given)

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        pool = self._opened()
        connection = self._wait(pool.acquire(timeout=30))
        try:
            # Whatever the server's own default: `for update` and `on conflict` are to see what has been committed.
            transaction = connection.transaction(isolation="read_committed")
            self._wait(transaction.start())
            try:
                yield lambda sql, *given: self._rows(connection, sql, *given)
            except BaseException:
                self._wait(transaction.rollback())
                raise
            self._wait(transaction.commit())
        finally:
            self._wait(pool.release(connection))

    def _rows(self, at: Any, sql: str, *given: object) -> Rows:
        number = itertools.count(1)
        return [tuple(row) for row in self._wait(at.fetch(re.sub(r"\?", lambda _: f"${next(number)}", sql), *given))]

    def _opened(self) -> Any:
        with self._lock:
            if self._pool is None:
                self._pool = self._wait(self._open())
            return self._pool

    async def _open(self) -> Any:
        import asyncpg

        # 20 people at once; the password comes from where asyncpg looks for it, as libpq does.
        pool = await asyncpg.create_pool(self.url, min_size=0, max_size=20, timeout=10, command_timeout=30)
        async with pool.acquire() as connection, connection.transaction():
            # One at a time: of two that find no tables, the second would fail at making them.
            await connection.execute("select pg_advisory_xact_lock(11000)")
            if await connection.fetchval("select to_regclass('users')") is None:
                await connection.execute(_TABLES.format(name='text collate "C"', how=""))  # by code point, as SQLite
        return pool

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncpg

        async def done() -> T:
            return await work

        try:
            return asyncio.run_coroutine_threadsafe(done(), self._loop).result()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise InfrastructureError(f"the journal at {self.url} does not answer as it should: {said}") from error

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._wait(self._pool.close())
                self._pool = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
