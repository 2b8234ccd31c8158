"""One event loop for all connections of the process, in a thread of its own.

Every batch of a stage runs in an event loop that ends with the batch, and a connection belongs to the loop that opened
it. So connections live here, and a batch's loop hands its requests over and waits. What is awaited over here is
cancelled when the one who waits is.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background() -> asyncio.AbstractEventLoop:
    """The loop, running; started on first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="served-engines", daemon=True).start()
        return _loop


async def over_there(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in the background loop, from a coroutine of any other loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, background()))


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in the background loop, from plain code of any thread but the loop's own."""
    future = asyncio.run_coroutine_threadsafe(work, background())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
