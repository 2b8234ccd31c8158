"""The record of what people decide: patches, claims and accounts. It lies in one SQLite file below `work`,

    work/people/journal.db

or in a PostgreSQL (`review.journal`). Whoever writes holds the clip's claim; a patch goes in with the number that
follows the last one its writer has seen, in one transaction, or not at all. Stages read it; only the review server and
its commands write.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import UserError
from tasks.review.database import Database, File, Rows, Server
from tasks.review.patches import OPS, Op, Patch
from tasks.store.folder import Folder

PEOPLE = "people"
"""Folder below `work`."""

JOURNAL_FILE = "journal.db"

Role = Literal["reader", "reviewer", "admin"]


class ConflictError(Exception):
    """Somebody else was first: the message says who or what, for people."""


@dataclass(frozen=True)
class User:
    name: str
    role: Role


class Journal:
    """One process's view of the record. Safe for threads. InfrastructureError where a server of it does not answer."""

    def __init__(self, work: Folder, url: str | None = None, now: Callable[[], float] = time.time) -> None:
        """url: of a PostgreSQL; now: seconds since 1970. UserError without a URL where the store is no local folder."""
        if url is None and not work.local:
            raise UserError(
                f"{work.uri} is no local folder, which the SQLite of people's decisions needs: set review.journal to "
                "the URL of a PostgreSQL"
            )
        self._db: Database = File(Path(work.path(PEOPLE)) / JOURNAL_FILE) if url is None else Server(url)
        self.now = now

    # reading

    @property
    def exists(self) -> bool:
        """Whether there may be something on record: looking makes no file."""
        return self._db.exists()

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

    def invite(self, name: str, role: Role | None = None) -> str:
        """Make an account, or give one a new token; returns the token, which is nowhere on record.

        role: None leaves an account the one it has, and makes a new one a reviewer.
        """
        token = secrets.token_urlsafe(24)
        with self._db.writing() as execute:
            execute(
                "insert into users values (?, coalesce(?, 'reviewer'), ?) on conflict (name) do update set "
                "role = coalesce(?, users.role), token = excluded.token",
                name, role, _hashed(token), role,
            )  # fmt: skip
        return token

    def dismiss(self, name: str) -> None:
        """Take an account away; what it has decided stays."""
        with self._db.writing() as execute:
            execute("delete from users where name = ?", name)

    def claim(self, clip: str, reviewer: str, seconds: float) -> None:
        """Hold a clip for so long, or longer; an expired claim is anybody's. ConflictError where another holds it."""
        now = self.now()
        with self._db.writing() as execute:
            held = execute(
                "insert into claims values (?, ?, ?) on conflict (clip) do update set reviewer = excluded.reviewer, "
                "until = excluded.until where claims.reviewer = excluded.reviewer or claims.until <= ? "
                "returning reviewer",
                clip, reviewer, now + seconds, now,
            )  # fmt: skip
            if not held:  # another's; its row is locked all the same, so that it does not go before it is read
                ((holder,),) = execute("select reviewer from claims where clip = ?", clip)
                raise ConflictError(f"{holder} is at this clip")

    def release(self, clip: str, reviewer: str) -> None:
        """Let go of a clip, if one holds it."""
        with self._db.writing() as execute:
            execute("delete from claims where clip = ? and reviewer = ?", clip, reviewer)

    def append(
        self, clip: str, reviewer: str, seen: int, op: Op, tracks: Mapping[str, str], was: str, seconds: float
    ) -> Patch:
        """Put one patch on record, whole or not at all, and hold the clip on.

        seen: number of the last patch that its writer knows of. ConflictError where another holds the clip, the claim
        has run out, or there are newer patches.
        """
        with self._db.writing() as execute:
            # Locked till the end: of two with the same claim, as two windows are, the second sees the first's patch.
            found = execute(f"select reviewer, until from claims where clip = ?{self._db.for_update}", clip)
            holder, until = found[0] if found else ("", 0.0)
            if holder != reviewer:
                raise ConflictError(f"{holder} is at this clip" if holder else "this clip is not yours: open it again")
            if until <= self.now():
                raise ConflictError("your claim on this clip has run out: open it again")
            newest = "select coalesce(max(seq), 0) from patches where clip = ? and reviewer = ?"
            if execute(newest, clip, reviewer) != [(seen,)]:
                raise ConflictError("this clip was changed in another window: open it again")
            patch = Patch(clip, reviewer, seen + 1, self.now(), op, dict(tracks), was)
            execute(
                "insert into patches values (?, ?, ?, ?, ?, ?, ?)",
                clip, reviewer, patch.seq, patch.at, op.model_dump_json(), was, json.dumps(tracks, sort_keys=True),
            )  # fmt: skip
            execute("update claims set until = ? where clip = ?", self.now() + seconds, clip)
            return patch

    def _read(self, sql: str, *given: object) -> Rows:
        return self._db.read(sql, *given) if self.exists else []

    def close(self) -> None:
        """Let go of the file or the server."""
        self._db.close()


@contextmanager
def begun(work: Folder, url: str | None) -> Iterator[Journal | None]:
    """The journal of a build for who reads it; None where nobody has begun, or a bucket has no place for one."""
    if url is None and not work.local:
        yield None
        return
    journal = Journal(work, url)
    try:
        yield journal if journal.exists else None
    finally:
        journal.close()


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
