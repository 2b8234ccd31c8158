"""The record of what people decide: patches, claims and accounts, in one SQLite file below `work`.

    work/people/journal.db

Whoever writes holds the clip's claim; a patch goes in with the number that follows the last one its writer has seen, in
one transaction, or not at all. Stages read it; only the review server and its commands write.
"""

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.errors import UserError
from tasks.review.patches import OPS, Op, Patch
from tasks.store.folder import Folder, make_folder

PEOPLE = "people"
"""Folder below `work`."""

JOURNAL_FILE = "journal.db"

Role = Literal["reader", "reviewer", "admin"]

_TABLES = """
create table if not exists patches (
  clip text not null, reviewer text not null, seq integer not null, at real not null,
  op text not null, was text not null, tracks text not null, primary key (clip, reviewer, seq)
) without rowid;
create table if not exists claims (clip text primary key, reviewer text not null, until real not null) without rowid;
create table if not exists users (name text primary key, role text not null, token text not null) without rowid;
"""


class ConflictError(Exception):
    """Somebody else was first: the message says who or what, for people."""


@dataclass(frozen=True)
class User:
    name: str
    role: Role


class Journal:
    """One process's view of the file. Safe for threads, which take turns."""

    def __init__(self, work: Folder, now: Callable[[], float] = time.time) -> None:
        """now: seconds since 1970. UserError where the store is no local folder."""
        if not work.local:
            raise UserError(f"{work.uri} is no local folder: people's decisions lie in SQLite, which needs one")
        self.path = Path(work.path(PEOPLE)) / JOURNAL_FILE
        self.now = now
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None

    # reading

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def patches(self, clip: str) -> dict[str, list[Patch]]:
        """Of one clip, by reviewer in the order of their names, each in order."""
        found: dict[str, list[Patch]] = {}
        for patch in self._patches("where clip = ?", clip):
            found.setdefault(patch.reviewer, []).append(patch)
        return found

    def clips(self) -> list[str]:
        """Sorted IDs of the clips that somebody has said something of."""
        return [row[0] for row in self._read("select distinct clip from patches order by clip")]

    def versions(self) -> dict[str, int]:
        """By clip that somebody has said something of, how many patches it has: one look at all of them."""
        return dict(self._read("select clip, count(*) from patches group by clip"))

    def trail(self, clip: str = "", limit: int = 1000) -> list[Patch]:
        """Who did what and when, newest first."""
        where = "where clip = ?" if clip else "where ? = ''"
        return list(self._patches(f"{where} order by at desc limit {int(limit)}", clip))

    def times(self) -> list[tuple[str, str, float]]:
        """(reviewer, clip, seconds since 1970) of every patch, in order of time."""
        return self._read("select reviewer, clip, at from patches order by at")

    def _patches(self, where: str, *given: object) -> Iterator[Patch]:
        columns = "clip, reviewer, seq, at, op, was, tracks"
        order = "" if "order by" in where else " order by clip, reviewer, seq"
        for clip, who, seq, at, op, was, tracks in self._read(f"select {columns} from patches {where}{order}", *given):
            yield Patch(clip, who, seq, at, OPS.validate_json(op), json.loads(tracks), was)

    def state(self, clip: str) -> str:
        """12 hex digits over all that was said of a clip; empty where nothing was."""
        rows = self._read("select reviewer, seq, op from patches where clip = ? order by reviewer, seq", clip)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12] if rows else ""

    def claims(self) -> dict[str, str]:
        """Who holds a clip now, by clip."""
        return dict(self._read("select clip, reviewer from claims where until > ?", self.now()))

    def users(self) -> list[User]:
        return [User(name, role) for name, role in self._read("select name, role from users order by name")]

    def user_of(self, token: str) -> User | None:
        """Whose token it is."""
        found = self._read("select name, role from users where token = ?", _hashed(token))
        return User(*found[0]) if found else None

    # writing

    def invite(self, name: str, role: Role) -> str:
        """Make an account, or give one a new token and role; returns the token, which is nowhere on record."""
        token = secrets.token_urlsafe(24)
        with self._writing() as db:
            db.execute("insert or replace into users values (?, ?, ?)", (name, role, _hashed(token)))
        return token

    def dismiss(self, name: str) -> None:
        """Take an account away; what it has decided stays."""
        with self._writing() as db:
            db.execute("delete from users where name = ?", (name,))

    def claim(self, clip: str, reviewer: str, seconds: float) -> None:
        """Hold a clip for so long, or longer; an expired claim is anybody's. ConflictError where another holds it."""
        with self._writing() as db:
            self._claim(db, clip, reviewer, seconds)

    def _claim(self, db: sqlite3.Connection, clip: str, reviewer: str, seconds: float) -> None:
        now = self.now()
        done = db.execute(
            "insert into claims values (?, ?, ?) on conflict (clip) do update set reviewer = excluded.reviewer, "
            "until = excluded.until where claims.reviewer = excluded.reviewer or claims.until <= ?",
            (clip, reviewer, now + seconds, now),
        )
        if done.rowcount == 0:
            (holder,) = db.execute("select reviewer from claims where clip = ?", (clip,)).fetchone()
            raise ConflictError(f"{holder} is at this clip")

    def release(self, clip: str, reviewer: str) -> None:
        """Let go of a clip, if one holds it."""
        with self._writing() as db:
            db.execute("delete from claims where clip = ? and reviewer = ?", (clip, reviewer))

    def append(
        self, clip: str, reviewer: str, seen: int, op: Op, tracks: Mapping[str, str], was: str, seconds: float
    ) -> Patch:
        """Put one patch on record, whole or not at all, and hold the clip on.

        seen: number of the last patch that its writer knows of. ConflictError where another holds the clip, the claim
        has run out, or there are newer patches.
        """
        with self._writing() as db:
            held = db.execute("select reviewer, until from claims where clip = ?", (clip,)).fetchone()
            if held is None or held[0] != reviewer:
                raise ConflictError(f"{held[0]} is at this clip" if held else "this clip is not yours: open it again")
            if held[1] <= self.now():
                raise ConflictError("your claim on this clip has run out: open it again")
            last = db.execute(
                "select coalesce(max(seq), 0) from patches where clip = ? and reviewer = ?", (clip, reviewer)
            ).fetchone()[0]
            if last != seen:
                raise ConflictError("this clip was changed in another window: open it again")
            patch = Patch(clip, reviewer, seen + 1, self.now(), op, dict(tracks), was)
            db.execute(
                "insert into patches values (?, ?, ?, ?, ?, ?, ?)",
                (clip, reviewer, patch.seq, patch.at, op.model_dump_json(), was, json.dumps(tracks, sort_keys=True)),
            )
            db.execute("update claims set until = ? where clip = ?", (self.now() + seconds, clip))
            return patch

    def _read(self, sql: str, *given: object) -> list[tuple[Any, ...]]:
        if not self.exists:
            return []
        with self._lock:
            return self._opened().execute(sql, given).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        make_folder(self.path.parent)
        with self._lock:
            db = self._opened()
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException:
                db.execute("rollback")
                raise

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            # Other processes read on beside one that writes; what was answered for is on the disk (synchronous full).
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.executescript(_TABLES)
        return self._db

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
