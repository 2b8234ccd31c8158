"""What every engine that answers questions does with one, wherever its model runs: the cache first, then the model.

A subclass says how a request is put together and who answers it: `served` asks a server, `in_process` a model of its
own. What `captioning` and `verifying` ask is the same for both.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from pydantic import BaseModel

from tasks.engines.base import Message, Reply
from tasks.engines.options import EngineOptions
from tasks.engines.served.cache import Kept, ReplyCache
from tasks.engines.served.reply import parse
from tasks.engines.served.wire import Tokens
from tasks.store.folder import Folder

Request = TypeVar("Request")


class Answering(ABC, Generic[Request]):
    """Answers with a checked reply, keeps it for the next run, and counts what it cost."""

    def __init__(self, options: EngineOptions, home: Folder, instructions: str = "") -> None:  # noqa: ARG002
        """home: where replies are kept that are asked for outside of a chunk. instructions: the engine's own prompt,
        part of its identity.
        """
        self.cache = ReplyCache(home)

    @property
    @abstractmethod
    def identity(self) -> str:
        """Engine, model and revision, and a digest over all that changes a reply."""

    async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
        """The reply, validated as `schema`. Raises BadReply for one that does not fit, and what `_answer` raises."""
        key, request = await self._request(messages, schema)
        if kept := await self.cache.get(key):
            self._spend(Tokens(prompt_tokens=kept.prompt_tokens, completion_tokens=kept.completion_tokens), cached=True)
            return parse(kept.content, schema)
        content, tokens = await self._answer(request)
        reply = parse(content, schema)
        await self.cache.put(Kept.of(key, content, tokens.prompt_tokens, tokens.completion_tokens))
        return reply

    async def forget(self, messages: Sequence[Message], schema: type[BaseModel]) -> None:
        """Drop the reply to these messages from the cache."""
        key, _ = await self._request(messages, schema)
        await self.cache.forget(key)

    @abstractmethod
    async def _request(self, messages: Sequence[Message], schema: type[BaseModel]) -> tuple[str, Request]:
        """Key and content of a request."""

    @abstractmethod
    async def _answer(self, request: Request) -> tuple[str, Tokens]:
        """The text of the model's answer, and what it cost, which is on the meter by then. BadReply for none."""

    @abstractmethod
    def _spend(self, tokens: Tokens, cached: bool = False) -> None:
        """Put a request on the meter."""

    @abstractmethod
    def _probe(self) -> tuple[Sequence[Message], type[BaseModel]]:
        """A small question of the engine's kind."""
