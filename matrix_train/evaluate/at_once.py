"""Several videos under work at a time: a server is kept busy while others are decoded."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

AT_ONCE = 4
"""Videos under work, so that memory does not grow with their number."""

T = TypeVar("T")


def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """All of them, in their order, `AT_ONCE` at a time. The first error ends it and is raised; the others are left."""
    asyncio.run(_all(iter(items), work))


async def _all(waiting: Iterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    async def some() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
