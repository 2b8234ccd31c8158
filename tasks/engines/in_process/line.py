"""Questions of all clips and threads, put together into batches for one model.

Each batch of a stage runs in an event loop of its own, in a thread of its own; the model runs in one thread. A question
waits here until the model is free, and goes with those that are of its kind, whose replies are as long as its own.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
Q = TypeVar("Q")

LINGER_S = 0.02
"""How long the first of a batch waits for another to come: those that have just been answered ask their next."""


@dataclass(eq=False)
class _Waiting(Generic[Q, A]):
    question: Q
    kind: Hashable
    size: int
    future: "Future[A]" = field(default_factory=Future)


class Line(Generic[Q, A]):
    """Before one model. A thread answers, and lives as long as there are questions."""

    def __init__(self, answer: Callable[[list[Q]], list[A]]) -> None:
        """answer: called with the questions of one batch."""
        self.answer = answer
        self._waiting: list[_Waiting[Q, A]] = []
        self._changed = threading.Condition()
        self._at_work = False

    async def put(self, question: Q, kind: Hashable, size: int) -> A:
        """The answer. kind: what questions of one batch have in common. size: most questions of its batch."""
        one = _Waiting[Q, A](question, kind, size)
        with self._changed:
            self._waiting.append(one)
            self._changed.notify()
            if not self._at_work:
                self._at_work = True
                threading.Thread(target=self._work, name="in-process-model", daemon=True).start()
        return await asyncio.wrap_future(one.future)

    def _work(self) -> None:
        while batch := self._next():
            try:
                answers = self.answer([one.question for one in batch])
            except BaseException as error:  # whatever it is, those who wait are told
                for one in batch:
                    one.future.set_exception(error)
            else:
                for one, answer in zip(batch, answers, strict=True):
                    one.future.set_result(answer)

    def _next(self) -> list[_Waiting[Q, A]]:
        """The oldest question and those of its kind, once no more come; none where nobody waits: the thread ends."""
        with self._changed:
            while self._waiting:
                first = self._waiting[0]
                alike = [one for one in self._waiting if one.kind == first.kind][: first.size]
                if len(alike) < first.size and self._changed.wait(LINGER_S):
                    continue  # another has come
                self._waiting = [one for one in self._waiting if one not in alike]
                if batch := [one for one in alike if one.future.set_running_or_notify_cancel()]:
                    return batch
            self._at_work = False
            return []
