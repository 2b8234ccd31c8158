"""When each frame is on screen, whatever the container's clock does: start anywhere, jump, start again, be guessed.

Times are exact fractions of a second. docs/stages/ingest.md, step 1.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

_REMEMBERED = 8
"""Steps between frames that a long one is held against."""

_OUT_OF_LINE = 4
"""A step so many times the longest remembered one is no slow source, but a jump."""


class Jump(Enum):
    NONE = 0
    AHEAD = 1
    """A gap: data was lost, the recording paused, or another one follows."""
    BACK = 2
    """Another recording follows: no encoder does this."""


@dataclass
class Clock:
    """Lays the frames of one source, in the order of display, on a time line that starts at 0 and never goes back.

    A jump leaves no gap: the frame before it lasts as long as the ones before did, and the next one follows.
    """

    usual: Fraction
    """Seconds that a frame lasts, by the header; from the second frame on, the step before."""
    max_gap: Fraction
    """Shorter steps are never a jump, in seconds."""
    jumps: int = 0
    end: Fraction = Fraction(0)
    """When the latest frame leaves the screen."""
    _start: Fraction = Fraction(0)
    _at: Fraction | None = None
    _steps: deque[Fraction] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def tick(self, at: Fraction | None, lasts: Fraction | None, key: bool) -> tuple[Fraction, Jump]:
        """The start of the next frame, and how the clock jumped before it.

        `at` and `lasts` are what the container says, None where it says nothing. A small step back is a jump only at a
        key frame, where a stream can be joined; elsewhere the time is merely wrong, and stands still instead.
        """
        before = self._at
        if before is None:
            step, jump = Fraction(0), Jump.NONE
        elif at is None:
            step, jump = self.usual, Jump.NONE
        else:
            step = at - before
            jump = self._jump(step, key)
        if jump is not Jump.NONE:
            self.jumps += 1
            step = self.usual
        elif before is not None and step > 0:
            self._steps.append(step)
            self.usual = step
        self._start += max(step, Fraction(0))
        if at is not None and (before is None or at > before or jump is not Jump.NONE):
            self._at = at
        elif before is not None and at is None:
            self._at = before + step
        self.end = self._start + (self.usual if lasts is None else lasts)
        return self._start, jump

    def _jump(self, step: Fraction, key: bool) -> Jump:
        if step < 0:
            return Jump.BACK if key or -step > self.max_gap else Jump.NONE
        far = step > self.max_gap and step > _OUT_OF_LINE * max(self._steps, default=self.usual)
        return Jump.AHEAD if far else Jump.NONE


@dataclass
class Queue:
    """Times of packets, where they are of decoding and not of display: the nth frame shown gets the nth of them."""

    _times: list[Fraction] = field(default_factory=list)

    def put(self, at: Fraction) -> None:
        heapq.heappush(self._times, at)

    def get(self) -> Fraction | None:
        return heapq.heappop(self._times) if self._times else None
