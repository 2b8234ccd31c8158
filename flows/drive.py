"""Moves batches through a chain of stages with a bounded number under way. Knows nothing of Prefect: `submit` does.

A batch goes on to its next stage as soon as it is through the last one, so that no stage waits for all of another, and
memory does not grow with the number of clips: only `in_flight` batches hold futures.
"""

import itertools
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.errors import StopRun, UserError


class Future(Protocol):
    def result(self) -> list[str]:
        """Keys that the stage accepted; raises what the batch raised."""
        ...


Submit = Callable[[str, int, list[str], Callable[[], None]], Future]
"""(stage, batch number, keys, call when done) → future."""


@dataclass
class Batch:
    number: int
    keys: list[str]
    stages: Sequence[str]


class GaveUpError(Exception):
    """Too many batches in a row were lost to infrastructure."""


FINAL = (StopRun, UserError)
"""What would meet every other batch too: the first one ends the run."""


def drive(
    batches: Iterator[Batch], submit: Submit, in_flight: int, give_up_after: int, progress: Callable[[], None]
) -> list[Exception]:
    """Run every batch through its stages. Returns the errors of batches that were lost; their clips stay pending.

    Raises GaveUpError from the last error after `give_up_after` lost batches in a row, and one of FINAL as it is after
    the first; both when the batches under way have ended.
    """
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    tickets = itertools.count()
    running: dict[int, tuple[Batch, int, Future]] = {}
    lost: list[Exception] = []
    in_a_row = 0
    final: Exception | None = None

    def start(batch: Batch, step: int) -> None:
        # The callback may fire inside submit, so it carries a ticket and not the future, which is not there yet.
        ticket = next(tickets)
        future = submit(batch.stages[step], batch.number, batch.keys, lambda: done.put(ticket))
        running[ticket] = (batch, step, future)

    exhausted = False
    while True:
        while not exhausted and not final and len(running) < in_flight and in_a_row < give_up_after:
            fresh = next(batches, None)
            if fresh is None:
                exhausted = True
                break
            start(fresh, 0)
        if not running:
            break
        progress()  # here, where all that may be under way is: it takes time, and no batch should wait for it
        batch, step, future = running.pop(done.get())
        try:
            batch.keys = future.result()
            in_a_row = 0
        except Exception as error:
            lost.append(error)
            in_a_row += 1
            batch.keys = []
            final = final or (error if isinstance(error, FINAL) else None)
        if batch.keys and not final and step + 1 < len(batch.stages) and in_a_row < give_up_after:
            start(batch, step + 1)
    if final:
        raise final
    if in_a_row >= give_up_after:
        raise GaveUpError(str(lost[-1])) from lost[-1]
    return lost


def batched(keys: Sequence[str], size: int, stages: Sequence[str], first: int = 0) -> Iterator[Batch]:
    """Cut keys into numbered batches."""
    for number, i in enumerate(range(0, len(keys), size), start=first):
        yield Batch(number, list(keys[i : i + size]), stages)
