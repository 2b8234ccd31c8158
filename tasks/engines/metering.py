"""Counts what a clip's requests cost, across the layers between a stage and the server that answers.

    with metered() as meter:      # in a stage, around one clip's work
        ...                       # an engine somewhere below calls spend(Usage(...))
    meter.usage

The meter travels in a context variable, so clips that wait side by side in one loop do not count each other's tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from schemas.usage import Usage


class Meter:
    """The sum so far. `usage` is None until something was spent."""

    def __init__(self) -> None:
        self.usage: Usage | None = None


_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """A fresh meter for the work inside, and for the tasks that it starts."""
    meter = Meter()
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)


def spend(usage: Usage) -> None:
    """Add to the meter of the work under way, if there is one. Call it in the caller's context, not in a pool's."""
    meter = _current.get()
    if meter is not None:
        meter.usage = usage if meter.usage is None else meter.usage + usage
