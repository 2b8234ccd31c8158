"""Batches: one through a stage, and many through a chain of stages with a bounded number under way.

Knows nothing of Prefect: `submit` does. A batch goes on to its next stage as soon as it is through the last one, so
that no stage waits for all of another, and memory does not grow with the number of clips: only `in_flight` batches hold
futures.
"""

import itertools
import queue
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flows.chunk import Chunk
from flows.legs import SPECS
from schemas import Reason, Row, Status, Usage
from schemas.text import one_line
from tasks.engines.served.cache import keeping
from tasks.errors import InfrastructureError, StopRun, UserError
from tasks.outcome import of_the_world
from tasks.store.legs import Leg
from tasks.store.spool import newly_counted

FINAL = (StopRun, UserError)
"""What would meet every other batch too: the first one ends the run."""


class Lost(InfrastructureError):
    """The world failed some keys of a batch: they stay pending. `__cause__` is what it met first."""

    def __init__(self, keys: Sequence[str], tried: Sequence[str], accepted: Sequence[str], what: str) -> None:
        """tried: those of `keys` at which work failed; the others were left alone."""
        super().__init__(what)
        self.keys, self.tried, self.accepted = list(keys), list(tried), list(accepted)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Lost, (self.keys, self.tried, self.accepted, str(self)))


@dataclass
class Account:
    """What a batch takes in of its work."""

    leg: str = ""
    """The leg that it is of."""
    usage: Usage | None = None
    """What models behind a server cost."""

    def of(self, rows: Sequence[Row[Any]], began: float, slots: int) -> Leg:
        """What work took that has ended now with these rows."""
        leg = Leg.of(
            rows, began, time.time(), leg=self.leg, slots=slots, gpu_bytes=gpu_peak(), spool=newly_counted()
        )  # fmt: skip
        self.usage = leg.usage if self.usage is None else self.usage + (leg.usage or Usage())
        return leg


def run_batch(chunk: Chunk, stage: str, keys: Sequence[str], account: Account | None = None) -> list[str]:
    """Run `keys` through `stage` and write their rows; returns the accepted keys, in order.

    Clips already on record are not done again. Own failures are tried up to `run.max_attempts` times over all runs,
    then rejected as poison. Where the world fails a clip (InfrastructureError, a full disk, no memory), the rest of the
    batch is gone on with, until it fails the next one too with nothing done in between: then the world is down, and
    nothing more is tried. `Lost` tells what stays pending. StopRun and UserError go on to the caller at once, as does
    an error of our own code.
    """
    store, ready = chunk.store(stage), SPECS[stage].ready
    keys = ready(chunk.at_work(stage), keys) if ready else keys
    account, run = account or Account(), chunk.context.settings.run
    limit = run.max_attempts
    tried: list[str] = []
    untried: list[str] = []
    first: BaseException | None = None
    while todo := [key for key in store.pending(keys) if key not in (*tried, *untried)]:
        rows: list[Row[Any]] = []
        began = time.time()
        try:
            with keeping(chunk.replies(stage)):
                for row in chunk.process(stage, todo):
                    if row.reason is not None and row.reason not in SPECS[stage].rejects:
                        raise AssertionError(f"{stage} rejects with {row.reason}, which its StageSpec does not declare")
                    last = row.status is Status.FAILED and store.failures(row.key) + 1 >= limit
                    rows.append(_poison(row, limit) if last else row)
        except Exception as error:
            done = {row.key for row in rows}
            left = [key for key in todo if key not in done]
            if isinstance(error, FINAL) or not of_the_world(error) or not left:
                raise
            down = bool(tried) and not rows
            tried.append(left[0])
            untried += left[1:] if down else []
            first = first or error
            continue
        finally:
            if rows:
                store.write(rows, account.of(rows, began, run.workers))
        if len(rows) != len(todo):
            raise AssertionError(f"{stage}: {len(todo)} clips in, {len(rows)} rows out")
    if first is not None:
        raise Lost([*tried, *untried], tried, store.accepted_of(keys), f"{type(first).__name__}: {first}") from first
    return store.accepted_of(keys)


def gpu_peak() -> int:
    """The most bytes that this process has had on one GPU; 0 where it has used none. Never imports torch for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(max(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count())))


def _poison(row: Row[Any], attempts: int) -> Row[Any]:
    detail = f"failed {attempts} times; last: {row.detail}"[:4000]
    return row.model_copy(update={"status": Status.REJECTED, "reason": Reason.POISON, "detail": detail})


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


@dataclass(frozen=True)
class Loss:
    """Keys of one batch that the world failed at a stage."""

    stage: str
    batch: int
    keys: tuple[str, ...]
    tried: tuple[str, ...]
    """Of these, the ones at which work failed."""
    why: str
    passed: int
    """Keys of the batch that had a row all the same."""


class GaveUpError(Exception):
    """Too many batches in a row were lost to infrastructure."""


def drive(
    batches: Iterator[Batch],
    submit: Submit,
    in_flight: int,
    give_up_after: int,
    progress: Callable[[], None],
    lost: list[Loss],
) -> None:
    """Run every batch through its stages. `lost` takes in what was lost on the way; those keys stay pending.

    Raises GaveUpError from the last error after `give_up_after` batches in a row of which nothing passed one stage, and
    after the first one of FINAL, or an error of our own code, that error itself; all when the batches under way have
    ended.
    """
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    tickets = itertools.count()
    running: dict[int, tuple[Batch, int, Future]] = {}
    in_a_row = Counter[str]()
    last: Exception | None = None
    final: Exception | None = None

    def start(batch: Batch, step: int) -> None:
        # The callback may fire inside submit, so it carries a ticket and not the future, which is not there yet.
        ticket = next(tickets)
        future = submit(batch.stages[step], batch.number, batch.keys, lambda: done.put(ticket))
        running[ticket] = (batch, step, future)

    def gave_up() -> bool:
        return max(in_a_row.values(), default=0) >= give_up_after

    exhausted = False
    while True:
        while not exhausted and not final and len(running) < in_flight and not gave_up():
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
            in_a_row[batch.stages[step]] = 0
        except Exception as error:
            if isinstance(error, FINAL) or not of_the_world(error):
                final = final or error
            known = error if isinstance(error, Lost) else Lost(batch.keys, (), (), str(error))
            passed = len(batch.keys) - len(known.keys)
            stage = batch.stages[step]
            lost.append(Loss(stage, batch.number, tuple(known.keys), tuple(known.tried), str(error), passed))
            in_a_row[stage] = 0 if passed else in_a_row[stage] + 1
            last = error
            batch.keys = known.accepted
        if batch.keys and not final and step + 1 < len(batch.stages) and not gave_up():
            start(batch, step + 1)
    if final:
        raise final
    if gave_up():
        raise GaveUpError(f"stopped after {give_up_after} batches in a row were lost: {last}") from last


def batched(keys: Sequence[str], size: int, stages: Sequence[str], first: int = 0) -> Iterator[Batch]:
    """Cut keys into numbered batches."""
    for number, i in enumerate(range(0, len(keys), size), start=first):
        yield Batch(number, list(keys[i : i + size]), stages)


def fail_alone(chunk: Chunk, lost: Sequence[Loss]) -> None:
    """Put a failed attempt on record for keys at which work failed in a run that came to its end.

    The engines were ready when it began and it did not give up, so the world was there: in the end such a key is
    poison. Else one odd file would stay pending for ever, and hold every stage that waits for all. Keys that were not
    tried have no part in it.
    """
    for loss in lost:
        store, limit = chunk.store(loss.stage), chunk.context.settings.run.max_attempts
        rows = [Row[Any](key=key, status=Status.FAILED, detail=one_line(loss.why, 4000)) for key in loss.tried]
        store.write([_poison(row, limit) if store.failures(row.key) + 1 >= limit else row for row in rows])
