"""Replies that are kept, so that asking the same again costs no tokens.

One database a stage and chunk (tasks/store/database.py), keyed by a digest over the whole request. Each reply carries a
digest of its own, so that one damaged all the same counts as missing. The database is touched in threads: a slow disk
must not hold up the requests of other clips. Which one it is travels in a context variable, since an engine serves all
chunks of a process.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic import ValidationError

from schemas.base import Count, Record, Sha256
from tasks.store.database import Database
from tasks.store.folder import Folder


class Kept(Record):
    """One reply as the model gave it, and what it cost then."""

    key: Sha256
    content: str
    prompt_tokens: Count
    completion_tokens: Count
    digest: Sha256

    @classmethod
    def of(cls, key: str, content: str, prompt_tokens: int, completion_tokens: int) -> "Kept":
        digest = _digest(key, content, prompt_tokens, completion_tokens)
        return cls(
            key=key, content=content, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, digest=digest
        )

    def whole(self, key: str) -> bool:
        own = _digest(self.key, self.content, self.prompt_tokens, self.completion_tokens)
        return self.key == key and self.digest == own


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


def key_of(identity: str, body: bytes) -> str:
    """The name of a request's reply: a digest over who is asked and every byte of what is asked."""
    return hashlib.sha256(identity.encode() + b"\0" + body).hexdigest()


class ReplyCache:
    """The replies of an engine: those of the chunk and stage under work (`keeping`), else its own below its home."""

    def __init__(self, home: Folder) -> None:
        self._own = Database(home)

    async def get(self, key: str) -> Kept | None:
        """The reply kept under `key`; None where there is none that is whole."""
        data = await asyncio.to_thread(_under_work.get(self._own).get, key)
        try:
            kept = None if data is None else Kept.model_validate_json(data)
        except ValidationError:
            return None
        return kept if kept and kept.whole(key) else None

    async def put(self, kept: Kept) -> None:
        data = kept.model_dump_json().encode()
        await asyncio.to_thread(_under_work.get(self._own).put, kept.key, data)

    async def forget(self, key: str) -> None:
        await asyncio.to_thread(_under_work.get(self._own).forget, key)

    def close(self) -> None:
        """Close the engine's own; the one under work is for whoever opened it to close."""
        self._own.close()


_under_work: ContextVar[Database] = ContextVar("replies")


@contextmanager
def keeping(database: Database) -> Iterator[None]:
    """Engines that are asked within keep their replies there."""
    token = _under_work.set(database)
    try:
        yield
    finally:
        _under_work.reset(token)
