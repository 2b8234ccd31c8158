"""Where a scene ends: PySceneDetect's content detector on small copies of the frames."""

import av
from av.video.reformatter import Interpolation, VideoReformatter
from scenedetect import FrameTimecode
from scenedetect.detectors import ContentDetector

_SIDE = 108
"""Shorter side of the copies, in pixels: enough for a mean over the picture, and cheap."""


class Cuts:
    """Feed every frame of a source in order; true where the picture changes as a whole against the one before.

    The detector's own filter for short scenes is off: it reports cuts late, when a window may already have crossed one.
    """

    def __init__(self, threshold: float) -> None:
        self._detector = ContentDetector(threshold=threshold, min_scene_len=0)
        self._scaler = VideoReformatter()
        self._time = FrameTimecode(0, fps=25.0)  # only handed back by the detector

    def is_cut(self, frame: av.VideoFrame) -> bool:
        factor = min(1.0, _SIDE / min(frame.width, frame.height))
        small = self._scaler.reformat(
            frame, max(1, round(frame.width * factor)), max(1, round(frame.height * factor)), format="bgr24",
            interpolation=Interpolation.FAST_BILINEAR, threads=1,
        )  # fmt: skip
        return bool(self._detector.process_frame(self._time, small.to_ndarray()))

    def restart(self) -> None:
        """Forget the last frame: the next one is of another size, or follows damage."""
        self._detector = ContentDetector(threshold=self._detector._threshold, min_scene_len=0)
