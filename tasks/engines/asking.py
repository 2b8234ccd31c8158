"""Put one question to a language model and take only an answer that holds: schema, nonce, and what the turn demands.

An example of the prompt is no answer. What was mended in an answer is counted with what it cost (`schemas.usage`).

A question is two messages. The system message is a prompt file, byte for byte. Everything that comes from outside
stands in the user message, as one JSON document; so no caption, whatever it holds, can become part of the instructions.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas import Reason, Repairs, Usage
from tasks.engines.base import BadReply, LanguageModel, Message
from tasks.engines.examples import no_example
from tasks.engines.metering import spend
from tasks.engines.replies import R
from tasks.errors import Reject


@dataclass(frozen=True)
class Question(Generic[R]):
    """One turn for one clip."""

    turn: str
    """Names the question within its clip: 'count', 'score <id1> pushes <id2>'. Part of the nonce."""
    prompt: str
    """The system message, the same for every clip."""
    document: Mapping[str, Any]
    """The data, of plain JSON types."""
    schema: type[R]
    check: Callable[[R], tuple[R, Repairs] | None]
    """The reply as it counts and what was mended in it; None where it counts as it is. Raises ValueError, with a
    message for the model, where a reply of the right form says something impossible."""
    images: tuple[NDArray[np.uint8], ...] = ()
    """RGB uint8 [H, W, 3], of the user message."""


@runtime_checkable
class Keeps(Protocol):
    """A language model that keeps replies for the next run."""

    async def forget(self, messages: Sequence[Message], schema: type[Any]) -> None:
        """The reply to these messages was no good after all: ask anew next time."""
        ...


def make_nonce(clip_id: str, turn: str, attempt: int) -> str:
    """What the reply must echo: 16 hex digits, the same in every run, different for every request of a build."""
    return hashlib.sha256(json.dumps([clip_id, turn, attempt]).encode()).hexdigest()[:16]


def build_messages(
    prompt: str,
    document: Mapping[str, Any],
    nonce: str,
    problem: Mapping[str, str] | None = None,
    images: tuple[NDArray[np.uint8], ...] = (),
) -> tuple[Message, Message]:
    """System and user message. `problem` tells the model what was wrong with its last answer."""
    data = {"nonce": nonce, **document, **({"problem": problem} if problem else {})}
    return Message("system", prompt), Message("user", json.dumps(data, ensure_ascii=False, indent=1), images)


async def ask_until_it_holds(
    llm: LanguageModel,
    question: Question[R],
    max_asks: int,
    nonce_of: Callable[[int], str],
    gate: AbstractAsyncContextManager[Any] | None = None,
) -> R:
    """The first answer that holds; BadReply with the last problem after `max_asks` that do not.

    nonce_of: the nonce of an attempt, counted from 0. InfrastructureError passes through: it is no answer.
    """
    problem: dict[str, str] | None = None
    for attempt in range(max_asks):
        nonce = nonce_of(attempt)
        messages = build_messages(question.prompt, question.document, nonce, problem, question.images)
        async with gate or nullcontext():
            try:
                reply = await llm.ask(messages, question.schema)
            except BadReply as bad:
                # Without the nonce it may be another clip's reply, to another turn: none of it is repeated.
                problem = _problem(bad, bad.raw) if nonce in bad.raw else {"error": str(bad)[:1000]}
                continue
        if reply.nonce != nonce:
            # It may be the answer to another clip's question: none of it is repeated or used.
            problem = {"error": "the reply does not echo the nonce of this request"}
        else:
            try:
                no_example(reply, question.prompt, question.document)
                checked, repairs = question.check(reply) or (reply, Repairs())
            except ValueError as bad:
                problem = _problem(bad, reply.model_dump_json())
            else:
                if repairs != Repairs():
                    spend(Usage(repaired=repairs))
                return checked
        if isinstance(llm, Keeps):
            await llm.forget(messages, question.schema)
    assert problem is not None
    raise BadReply(f"{problem['error']} ({max_asks} answers)", problem.get("your_reply", ""))


class Asker:
    """Asks the questions of one clip. `gate` bounds the requests in flight over all clips."""

    def __init__(self, llm: LanguageModel, gate: asyncio.Semaphore, clip_id: str, max_asks: int) -> None:
        self.llm, self.gate, self.clip_id, self.max_asks = llm, gate, clip_id, max_asks

    async def put(self, question: Question[R]) -> R:
        """The first answer that holds. Raises Reject(BAD_REPLY) after `max_asks` answers that do not."""

        def nonce_of(attempt: int) -> str:
            return make_nonce(self.clip_id, question.turn, attempt)

        try:
            return await ask_until_it_holds(self.llm, question, self.max_asks, nonce_of, self.gate)
        except BadReply as bad:
            raise Reject(Reason.BAD_REPLY, f"{question.turn}: {bad}") from None


def _problem(error: Exception, reply: str) -> dict[str, str]:
    return {"error": str(error)[:1000], "your_reply": reply[:4000]}
