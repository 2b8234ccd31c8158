"""What a stage sees of a clip, and what it may say of it."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from schemas import Captioned, Clip, Curated, Grounded, Record, Row, Status, Tracked, Usage
from schemas.text import one_line
from tasks.engines.metering import metered
from tasks.errors import InfrastructureError, Reject, UserError

R = TypeVar("R", bound=Record)
C = TypeVar("C")


@dataclass(frozen=True)
class Case:
    """A clip with the results of the stages before. A stage may rely on those that `flows.context` puts before it."""

    clip: Clip
    captioned: Captioned | None = None
    grounded: Grounded | None = None
    tracked: Tracked | None = None
    curated: Curated | None = None


def settle(key: str, work: Callable[[], R]) -> Row[R]:
    """Run `work` for one clip and put its end into a row.

    A record is accepted, `Reject` rejected; any other exception is an attempt that failed, with its type and message
    on record. InfrastructureError, UserError, MemoryError and disk errors are not the clip's: they pass through.
    """
    began = time.perf_counter()
    try:
        payload = work()
    except Exception as error:
        return _ended_without(key, error, time.perf_counter() - began)
    return Row(key=key, status=Status.ACCEPTED, seconds=time.perf_counter() - began, payload=payload)


async def settle_async(key: str, work: Callable[[], Awaitable[R]]) -> Row[R]:
    """`settle` for work that waits for a server. `seconds` counts the waiting too, `usage` what the answers cost."""
    began = time.perf_counter()
    with metered() as meter:
        try:
            payload = await work()
        except Exception as error:
            return _ended_without(key, error, time.perf_counter() - began, meter.usage)
    seconds = time.perf_counter() - began
    return Row(key=key, status=Status.ACCEPTED, seconds=seconds, usage=meter.usage, payload=payload)


def _ended_without(key: str, error: Exception, seconds: float, usage: Usage | None = None) -> Row[R]:
    """The row of a clip whose work raised, or the error itself where it is not the clip's."""
    if isinstance(error, InfrastructureError | UserError | MemoryError | OSError):
        raise error
    status, reason, detail = Status.FAILED, None, f"{type(error).__name__}: {error}"
    if isinstance(error, Reject):
        status, reason, detail = Status.REJECTED, error.reason, error.detail
    # The error may quote anything: a name that is no text would make a row of its own end impossible.
    return Row(key=key, status=status, reason=reason, detail=one_line(detail, 4000), seconds=seconds, usage=usage)


def settle_each(cases: Sequence[Case], work: Callable[[Case], R]) -> Iterator[Row[R]]:
    """`settle` for stages that take clips one by one; rows in the order of the cases."""
    for case in cases:
        yield settle(case.clip.clip_id, lambda case=case: work(case))  # type: ignore[misc]
