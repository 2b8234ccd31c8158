"""What a stage sees of a clip, and what its work on one may end in."""

import errno
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from schemas import Clip, Record, Row, Status, Usage
from schemas.text import one_line
from tasks.engines.metering import metered
from tasks.errors import InfrastructureError, Reject, UserError

R = TypeVar("R", bound=Record)

OWN_ERRNOS = frozenset({errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EOVERFLOW})
"""System errors that speak of one file. All others (full disk, lost mount, no connection) are the world's."""


@dataclass(frozen=True)
class Case:
    """A clip with the results of the stages that a stage says it needs (`StageSpec.needs`)."""

    clip: Clip
    results: tuple[Record, ...] = ()

    def get(self, kind: type[R]) -> R | None:
        """The result of that kind; None where its stage has not accepted the clip, or was not asked for."""
        return next((r for r in self.results if isinstance(r, kind)), None)

    def of(self, kind: type[R]) -> R:
        """The result of that kind. ValueError where it is missing."""
        found = self.get(kind)
        if found is None:
            raise ValueError(f"{self.clip.clip_id} comes without {kind.__name__}")
        return found

    def plus(self, *results: Record) -> "Case":
        """The case with these results, each in the place of one of its kind."""
        kinds = tuple(type(r) for r in results)
        return Case(self.clip, (*(r for r in self.results if not isinstance(r, kinds)), *results))


def settle(key: str, work: Callable[[], R]) -> Row[R]:
    """Run `work` for one clip and put its end into a row.

    A record is accepted, `Reject` rejected; any other exception is an attempt that failed, with its type and message
    on record. What is not the clip's passes through: InfrastructureError, UserError, MemoryError, and system errors
    that speak of the world and not of one file.
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
    if of_the_world(error):
        raise error
    status, reason, detail = Status.FAILED, None, f"{type(error).__name__}: {error}"
    if isinstance(error, Reject):
        status, reason, detail = Status.REJECTED, error.reason, error.detail
    # The error may quote anything: a name that is no text would make a row of its own end impossible.
    return Row(key=key, status=status, reason=reason, detail=one_line(detail, 4000), seconds=seconds, usage=usage)


def of_the_world(error: BaseException) -> bool:
    """Whether an error that ended the work on a clip says nothing of the clip, which then stays pending."""
    if isinstance(error, OSError):
        return error.errno not in OWN_ERRNOS
    return isinstance(error, InfrastructureError | UserError | MemoryError)


def settle_each(cases: Sequence[Case], work: Callable[[Case], R]) -> Iterator[Row[R]]:
    """`settle` for stages that take clips one by one; rows in the order of the cases."""
    for case in cases:
        yield settle(case.clip.clip_id, lambda case=case: work(case))  # type: ignore[misc]
