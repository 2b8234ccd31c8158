"""Frames of any size and rate to windows of one size and rate: cover, centre crop, resample by time.

Runs in a child process (tasks/ingest/sandbox.py), on one frame after the other: no more than one window is in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from schemas import Geometry, Window
from tasks.ingest.decode import Shown, clockwise

Picture = NDArray[np.uint8]
"""RGB uint8 [H, W, 3], of the clip's size."""

_ANAMORPHIC = (Fraction(1, 10), Fraction(10))
"""Sample aspect ratios outside of this are damage, not format."""

_COLORSPACES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
                7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}  # fmt: skip
"""libavutil's AVCOL_SPC_* to the matrices of swscale."""

_HD_HEIGHT = 720

HELD_BYTES = 128 << 20
"""Decoded frames of a window wait for it to fill before they are fitted, if all of them take no more than this. Most
sources end in the middle of a window, whose frames then cost nothing."""


class Fitter:
    """Turns, scales (cover) and crops (centre) frames to `width` × `height`."""

    def __init__(self, width: int, height: int, pixel_aspect: Fraction = Fraction(1)) -> None:
        """`pixel_aspect` is the width of a source pixel over its height."""
        self._size = (width, height)
        self._aspect = pixel_aspect if _ANAMORPHIC[0] <= pixel_aspect <= _ANAMORPHIC[1] else Fraction(1)
        self._scaler = VideoReformatter()

    def geometry(self, frame: av.VideoFrame) -> Geometry:
        """How displayed pixels of such a frame map to pixels of the clip."""
        width, height = self._displayed(frame)
        scaled_width, scaled_height = self._scaled(width, height)
        return Geometry(
            source_width=width,
            source_height=height,
            scale=float(self._scale(width, height)),
            offset_x=(scaled_width - self._size[0]) // 2,
            offset_y=(scaled_height - self._size[1]) // 2,
        )

    def __call__(self, frame: av.VideoFrame) -> Picture:
        turn = clockwise(frame)
        scaled_width, scaled_height = self._scaled(*self._displayed(frame))
        coded = (scaled_height, scaled_width) if turn % 180 else (scaled_width, scaled_height)
        matrix = _COLORSPACES.get(frame.colorspace)
        if matrix is None:  # untagged: what players assume
            matrix = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
        shrinks = coded[0] < frame.width
        scaled = self._scaler.reformat(
            frame, *coded, format="rgb24", threads=1,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
            src_colorspace=matrix, dst_color_range=ColorRange.JPEG,
        )  # fmt: skip
        picture = np.rot90(scaled.to_ndarray(), -turn // 90)
        x, y = (scaled_width - self._size[0]) // 2, (scaled_height - self._size[1]) // 2
        return np.ascontiguousarray(picture[y : y + self._size[1], x : x + self._size[0]])

    def _displayed(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Width and height on screen: square pixels, turned upright."""
        width, height = round(frame.width * self._aspect), frame.height
        return (height, width) if clockwise(frame) % 180 else (width, height)

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
    a cut or the end of the video leaves unfinished is dropped.
    """

    fit: Fitter
    frames: int
    fps: Fraction
    per_scene: int
    per_source: int
    taken: int = 0
    _scene: int = -1
    _scene_start: Fraction = Fraction(0)
    _index: int = 0
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
        self._scene, self._index, self._scene_start = self._scene + 1, 0, at
        self._current = frame

    def _fill(self, until: Fraction) -> Iterator[Taken]:
        """Let the current frame stand for every tick before `until`."""
        frame = self._current
        while frame is not None and self._index < self.per_scene and not self.full:
            tick = self._scene_start + (self._index * self.frames + len(self._waiting)) / self.fps
            if tick >= until:
                return
            if self._source_frames and self._source_frames[-1] == frame.index:
                self._waiting.append(self._waiting[-1])
            else:
                held = sum(plane.buffer_size for plane in frame.frame.planes) * self.frames
                self._waiting.append(frame if held <= HELD_BYTES else self.fit(frame.frame))
            self._source_frames.append(frame.index)
            if len(self._waiting) == self.frames:
                yield self._finish(frame)

    def _finish(self, last: Shown) -> Taken:
        start = self._scene_start + self._index * self.frames / self.fps
        window = Window(
            scene=self._scene,
            index=self._index,
            source_frames=tuple(self._source_frames),
            start_s=float(start),
            end_s=float(start + self.frames / self.fps),
        )
        pictures: list[Picture] = []
        for i, shown in enumerate(self._waiting):
            if i and shown is self._waiting[i - 1]:
                pictures.append(pictures[-1])
            else:
                pictures.append(self.fit(shown.frame) if isinstance(shown, Shown) else shown)
        self._waiting, self._source_frames = [], []
        self._index += 1
        self.taken += 1
        return Taken(window, self.fit.geometry(last.frame), pictures)
