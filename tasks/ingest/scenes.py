"""Where a scene ends: PySceneDetect's detectors on small copies of the frames. docs/stages/ingest.md, step 3."""

from collections import deque
from collections.abc import Iterator

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from tasks.ingest.colours import ToRgb, is_hdr
from tasks.ingest.decode import Shown

REACH = 4
"""Frames on either side that a change is held against. Drawings shown for two or three frames each make changes
between still frames; among eight neighbours there are enough of them to be no cut."""

_SIDE = 108
"""Shorter side of the copies, in pixels: enough for a mean over the picture, and cheap."""


_EVERY = 2
"""The mean change of brightness is taken over every other pixel and row: as good a mean, at a third of the time."""


class Cuts:
    """Feed a run of frames of one size, in order; they come back, `REACH` later, with whether a scene begins at them.

    The first one begins a scene. Another does when the picture changes as a whole against the one before: in colour by
    `threshold` (`ContentDetector`), or in brightness by `min_change` and by `ratio` times the mean change around it
    (`AdaptiveDetector`, luma only). The second finds cuts between places of similar colours. Its brightness is HSV's V:
    the hue of a grey wall jumps at each key frame. The detectors' own filter for short scenes is off, windows do that.
    """

    def __init__(self, threshold: float, ratio: float, min_change: float) -> None:
        self._content = ContentDetector(threshold=threshold, min_scene_len=0)
        self._local = AdaptiveDetector(
            adaptive_threshold=ratio, min_content_val=min_change, window_width=REACH, min_scene_len=0, luma_only=True
        )
        self._scaler, self._to_rgb = VideoReformatter(), ToRgb()
        self._fed = 0
        self._waiting: deque[tuple[Shown, bool]] = deque()
        self._last: NDArray[np.uint8] | None = None

    def see(self, shown: Shown) -> Iterator[tuple[Shown, bool]]:
        small = self._small(shown.frame)
        first = self._last is None
        if first:
            for _ in range(REACH):  # as if the first picture had stood still before
                self._local.process_frame(self._time(), small[::_EVERY, ::_EVERY])
        self._last = small
        self._waiting.append((shown, bool(self._content.process_frame(self._time(), small)) or first))
        yield from self._judge(small)

    def rest(self) -> Iterator[tuple[Shown, bool]]:
        """The run has ended, as if its last picture stood still after it."""
        while self._waiting and self._last is not None:
            yield from self._judge(self._last)

    def _judge(self, small: NDArray[np.uint8]) -> Iterator[tuple[Shown, bool]]:
        apart = bool(self._local.process_frame(self._time(), small[::_EVERY, ::_EVERY]))
        self._fed += 1
        if self._fed > REACH:
            shown, begins = self._waiting.popleft()
            yield shown, begins or apart

    def _time(self) -> FrameTimecode:
        return FrameTimecode(self._fed, fps=25.0)  # only handed back by the detectors

    def _small(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        factor = min(1.0, _SIDE / min(frame.width, frame.height))
        width, height = max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
        if is_hdr(frame):  # whose code values lie too close together for the thresholds
            return np.ascontiguousarray(self._to_rgb(frame, width, height, Interpolation.FAST_BILINEAR)[..., ::-1])
        small = self._scaler.reformat(
            frame, width, height, format="bgr24", interpolation=Interpolation.FAST_BILINEAR, threads=1
        )
        return np.asarray(small.to_ndarray(), dtype=np.uint8)
