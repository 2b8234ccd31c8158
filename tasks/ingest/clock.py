"""When each frame is on screen, whatever the container's clock does: start anywhere, jump, start again, be guessed.

Times are exact fractions of a second. docs/stages/ingest.md, step 1.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from statistics import median

_REMEMBERED = 8
"""Steps between frames that a long one is held against."""

_OUT_OF_LINE = 4
"""A step longer than so many times the median of those is a jump, and not a slow source."""

_SHARE_AT_KEY = 4
"""Where streams are joined, or go on after a loss, a key frame follows. There a step so much shorter is a jump too."""


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
    """Shorter steps are no jump, in seconds; at key frames a quarter of it."""
    jumps: int = 0
    end: Fraction = Fraction(0)
    """When the latest frame leaves the screen."""
    _start: Fraction = Fraction(0)
    _at: Fraction | None = None
    _began: bool = False
    _joined: bool = False
    _between_keys: bool = False
    """There are other frames than key frames, so that these tell something."""
    _steps: deque[Fraction] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def tick(self, at: Fraction | None, lasts: Fraction | None, key: bool) -> tuple[Fraction, Jump]:
        """The start of the next frame, and how the clock jumped before it.

        `at` and `lasts` are what the container says, None where it says nothing. A small step back is a jump only at a
        key frame, where a stream can be joined; elsewhere the time is merely wrong, and stands still instead.
        """
        jump, joined, self._joined = Jump.NONE, self._joined, False
        if not self._began:
            step = Fraction(0)
        elif joined:
            step, jump = self.usual, Jump.BACK
        elif at is None or self._at is None:
            step = self.usual
        else:
            step = at - self._at
            jump = self._jump(step, key)
            if step > 0 and jump is not Jump.BACK:
                self._steps.append(step)
        if jump is Jump.NONE:
            self.usual = step if step > 0 else self.usual
        else:
            self.jumps += 1
            step = self.usual
        if at is None:
            self._at = None if joined or self._at is None else self._at + step
        elif self._at is None or at > self._at or jump is not Jump.NONE:
            self._at = at
        self._began = True
        self._between_keys = self._between_keys or not key
        self._start += max(step, Fraction(0))
        self.end = self._start + (self.usual if lasts is None else lasts)
        return self._start, jump

    def join(self) -> None:
        """The next frame is of another stream, whose clock says nothing about this one's."""
        self._joined = True

    def _jump(self, step: Fraction, key: bool) -> Jump:
        if step < 0:
            return Jump.BACK if key or -step > self.max_gap else Jump.NONE
        least = self.max_gap / _SHARE_AT_KEY if key and self._between_keys else self.max_gap
        far = step > least and step > _OUT_OF_LINE * median(self._steps or [self.usual])
        return Jump.AHEAD if far else Jump.NONE


@dataclass
class Queue:
    """Times of packets, where they are of decoding and not of display: the nth frame shown gets the nth of them."""

    _times: list[Fraction] = field(default_factory=list)

    def put(self, at: Fraction) -> None:
        heapq.heappush(self._times, at)

    def get(self) -> Fraction | None:
        return heapq.heappop(self._times) if self._times else None
