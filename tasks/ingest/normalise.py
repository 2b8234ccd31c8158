"""Frames of any size and rate to windows of one size and rate: cover, centre crop, resample by time.

Runs in a child process (tasks/ingest/sandbox.py), on one frame after the other: no more than one window is in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from schemas import Geometry, Stretch, Window
from tasks.ingest.colours import ToRgb
from tasks.ingest.decode import Shown
from tasks.ingest.motion import motion

Picture = NDArray[np.uint8]
"""RGB uint8 [H, W, 3], of the clip's size."""

_ANAMORPHIC = (Fraction(1, 10), Fraction(10))
"""Sample aspect ratios outside of this are damage, not format."""

HELD_BYTES = 128 << 20
"""Decoded frames of a window wait for it to fill before they are fitted, if all of them take no more than this. Most
sources end in the middle of a window, whose frames then cost nothing."""


class Fitter:
    """Turns, scales (cover) and crops (centre) frames to `width` × `height`."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._to_rgb = ToRgb()

    def geometry(self, shown: Shown) -> Geometry:
        """How displayed pixels of such a frame map to pixels of the clip."""
        width, height = self._displayed(shown)
        scaled_width, scaled_height = self._scaled(width, height)
        return Geometry(
            source_width=width,
            source_height=height,
            scale=float(self._scale(width, height)),
            offset_x=(scaled_width - self._size[0]) // 2,
            offset_y=(scaled_height - self._size[1]) // 2,
        )

    def __call__(self, shown: Shown) -> Picture:
        scaled_width, scaled_height = self._scaled(*self._displayed(shown))
        coded = (scaled_height, scaled_width) if shown.turn % 180 else (scaled_width, scaled_height)
        shrinks = coded[0] < shown.frame.width
        scaled = self._to_rgb(shown.frame, *coded, Interpolation.AREA if shrinks else Interpolation.BICUBIC)
        picture = np.rot90(scaled, -shown.turn // 90)
        x, y = (scaled_width - self._size[0]) // 2, (scaled_height - self._size[1]) // 2
        return np.ascontiguousarray(picture[y : y + self._size[1], x : x + self._size[0]])

    def _displayed(self, shown: Shown) -> tuple[int, int]:
        """Width and height on screen: square pixels, turned upright."""
        aspect = shown.pixel_aspect if _ANAMORPHIC[0] <= shown.pixel_aspect <= _ANAMORPHIC[1] else Fraction(1)
        width, height = round(shown.frame.width * aspect), shown.frame.height
        return (height, width) if shown.turn % 180 else (width, height)

    def _scale(self, width: int, height: int) -> Fraction:
        return max(Fraction(self._size[0], width), Fraction(self._size[1], height))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Size after scaling; exact on the side that fits, to half a pixel on the other."""
        scale = self._scale(width, height)
        return max(self._size[0], round(width * scale)), max(self._size[1], round(height * scale))


@dataclass(frozen=True)
class Taken:
    """A full window."""

    window: Window
    geometry: Geometry
    pictures: list[Picture]


@dataclass
class WindowTaker:
    """Lays windows of `frames` pictures at `fps` back to back over each scene, from the scene's first frame on.

    A tick shows the last frame that is on screen by then, to half a millisecond: containers round times. A window that
    a cut or the end of the video leaves unfinished is dropped; one in which nothing moves is left out and noted.
    """

    fit: Fitter
    frames: int
    fps: Fraction
    per_scene: int
    per_source: int
    min_motion: float
    taken: int = 0
    still: list[Stretch] = field(default_factory=list)
    """Where nothing moved; windows that follow one another are one stretch."""
    most_motion: float = 0.0
    """Of those windows."""
    _scene: int = -1
    _scene_start: Fraction = Fraction(0)
    _index: int = 0
    _taken_of_scene: int = 0
    _current: Shown | None = None
    _waiting: list[Shown | Picture] = field(default_factory=list)
    _source_frames: list[int] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """No more windows are wanted of this source."""
        return self.taken >= self.per_source

    def show(self, frame: Shown, tolerance: Fraction) -> Iterator[Taken]:
        """The next frame of the scene comes on screen. `tolerance` in seconds."""
        yield from self._fill(frame.start - tolerance)
        self._current = frame

    def cut(self, frame: Shown | None, at: Fraction) -> Iterator[Taken]:
        """The scene ends at `at`; a new one starts with `frame`, if any."""
        yield from self._fill(at)
        self._waiting, self._source_frames = [], []
        self._scene += frame is not None
        self._index, self._taken_of_scene, self._scene_start = 0, 0, at
        self._current = frame

    def _fill(self, until: Fraction) -> Iterator[Taken]:
        """Let the current frame stand for every tick before `until`."""
        frame = self._current
        while frame is not None and self._taken_of_scene < self.per_scene and not self.full:
            tick = self._scene_start + (self._index * self.frames + len(self._waiting)) / self.fps
            if tick >= until:
                return
            if self._source_frames and self._source_frames[-1] == frame.index:
                self._waiting.append(self._waiting[-1])
            else:
                held = sum(plane.buffer_size for plane in frame.frame.planes) * self.frames
                self._waiting.append(frame if held <= HELD_BYTES else self.fit(frame))
            self._source_frames.append(frame.index)
            if len(self._waiting) == self.frames:
                yield from self._finish(frame)

    def _finish(self, last: Shown) -> Iterator[Taken]:
        start = self._scene_start + self._index * self.frames / self.fps
        end = start + self.frames / self.fps
        pictures: list[Picture] = []
        for i, shown in enumerate(self._waiting):
            if i and shown is self._waiting[i - 1]:
                pictures.append(pictures[-1])
            else:
                pictures.append(self.fit(shown) if isinstance(shown, Shown) else shown)
        window = Window(
            scene=self._scene,
            index=self._index,
            source_frames=tuple(self._source_frames),
            start_s=float(start),
            end_s=float(end),
        )
        self._waiting, self._source_frames = [], []
        self._index += 1
        moved = motion(pictures)
        if self.frames > 1 and moved < self.min_motion:
            self._note_still(window.start_s, window.end_s)
            self.most_motion = max(self.most_motion, moved)
            return
        self.taken += 1
        self._taken_of_scene += 1
        yield Taken(window, self.fit.geometry(last), pictures)

    def _note_still(self, start_s: float, end_s: float) -> None:
        if self.still and self.still[-1].end_s == start_s:
            start_s = self.still.pop().start_s
        self.still.append(Stretch(start_s=start_s, end_s=end_s))
