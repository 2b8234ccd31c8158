"""Stops a run between two steps, its checkpoint written: on SIGTERM (a scheduler takes the machine) and on Ctrl-C.

with StopSignals() as stop:
    while not stop.asked: ...

A second signal of the kind acts as it always does. Data workers let the first one pass, so that the step can end
(`data.loader.let_one_pass`).
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOP = (signal.SIGTERM, signal.SIGINT)

_SAID = b"\nstopping after this step, with a checkpoint; once more stops at once\n"


class Stopped(Exception):
    """The run was asked to stop and has: a checkpoint of this step is written. `code`: what a shell expects of it."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(
            f"stopped after step {step} by {signal.Signals(number).name}; its checkpoint is written: "
            "go on with --resume auto"
        )
        self.code = 128 + number


class StopSignals:
    """`asked` is the number of the signal that came; 0 before. Signals reach the main thread alone."""

    def __init__(self, says: bool = False) -> None:
        """says: whether this process tells of the first signal on stderr."""
        self.asked = 0
        self._says = says
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in STOP}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = number
        signal.signal(number, self._before[number])
        if self._says:
            # Past Python's buffer, in the middle of whose use the signal may have come.
            os.write(2, _SAID)
