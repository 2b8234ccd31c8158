"""Replies kept on disk, so that asking the same again costs no tokens.

One small JSON file a reply, in folders by the first digits of its key, which is a digest over the whole request. Files
are whole or absent: renamed into place, and carrying a digest of their own, so that one damaged all the same counts as
missing. They are not flushed to disk one by one: what a power cut takes is asked again, and a flush would cost more
than the rest of the client. Files are touched in threads: a slow disk must not hold up the requests of other clips.
"""

import asyncio
import hashlib
import itertools
import os
import uuid
from pathlib import Path

from pydantic import ValidationError

from schemas.base import Count, Record, Sha256
from tasks.store.folder import TEMPORARY, Folder

_PROCESS = uuid.uuid4().hex[:12]
_count = itertools.count()
"""With the process they name a temporary file that no one else writes, on whatever machine shares the folder."""


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
    """Replies below a folder, local or in an object store. Any number of processes may share it."""

    def __init__(self, home: Folder) -> None:
        self.home = home

    async def get(self, key: str) -> Kept | None:
        """The reply kept under `key`; None where there is none that is whole."""
        try:
            kept = Kept.model_validate_json(await asyncio.to_thread(self.home.read, _name(key)))
        except (FileNotFoundError, ValidationError):
            return None
        return kept if kept.whole(key) else None

    async def put(self, kept: Kept) -> None:
        data = kept.model_dump_json().encode()
        await asyncio.to_thread(self._write, _name(kept.key), data)

    async def forget(self, key: str) -> None:
        await asyncio.to_thread(self.home.remove, _name(key))

    def _write(self, name: str, data: bytes) -> None:
        if not self.home.local:
            self.home.write(name, data)
            return
        target = Path(self.home.path(name))
        temporary = target.with_name(f"{TEMPORARY}{_PROCESS}-{os.getpid()}-{next(_count)}")
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        temporary.replace(target)


def _name(key: str) -> str:
    return f"{key[0]}/{key[1]}/{key}.json"
