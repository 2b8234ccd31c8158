"""How much is asked of a server: the bound on requests in flight, the pauses between tries, and when to stop.

All of it belongs to the background loop, so nothing here is locked.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tasks.errors import StopRun

FIRST_PAUSE_S = 0.5
REST_S = 30.0
"""Time after which an open breaker lets one request try again: a worker process outlives the run that was stopped."""


class Gate:
    """Bounds what is in flight: of the engine to its own `concurrency`, at the server to the largest of its engines."""

    _servers: dict[str, tuple[asyncio.Semaphore, int]] = {}  # noqa: RUF012 - one table for the process is the point

    def __init__(self, server: str, limit: int) -> None:
        self.server, self.own = server, asyncio.Semaphore(limit)
        shared, known = self._servers.get(server, (asyncio.Semaphore(0), 0))
        for _ in range(known, limit):
            shared.release()
        self._servers[server] = (shared, max(known, limit))
        self.shared = shared

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        async with self.own, self.shared:
            yield


class Breaker:
    """Opens after `limit` lost requests in a row; then all that follows ends at once, until a trial goes well."""

    def __init__(self, limit: int, advice: str) -> None:
        """advice: what the message tells people to do, one line."""
        self.limit, self.advice = limit, advice
        self.lost = 0
        self.why: str | None = None
        self.trial_at = 0.0

    def before(self) -> None:
        """StopRun while it is open. After a rest one caller gets through, as a trial."""
        if self.why is None:
            return
        now = time.monotonic()
        if now < self.trial_at:
            raise StopRun(self.why)
        self.trial_at = now + REST_S

    def went_well(self) -> None:
        self.lost, self.why = 0, None

    def was_lost(self, text: str) -> StopRun | None:
        """Count a request that its retries did not save; the StopRun to raise where that opens the breaker."""
        self.lost += 1
        if self.why is None and self.lost < self.limit:
            return None
        return self.trip(f"{self.lost} requests in a row failed, the last one: {text}")

    def trip(self, text: str) -> StopRun:
        """Open at once."""
        self.why, self.trial_at = f"{text}; {self.advice}", time.monotonic() + REST_S
        return StopRun(self.why)


def pause(attempt: int, asked: float | None, longest: float) -> float:
    """Seconds before try `attempt` + 1: twice as long each time, jittered so that clips do not come back together.

    asked: what Retry-After said. It is honoured as a least wait, up to `longest`.
    """
    own = FIRST_PAUSE_S * 2.0**attempt
    return min(longest, max(own, asked or 0.0) * random.uniform(1.0, 1.5) if asked else own * random.uniform(0.5, 1.0))
