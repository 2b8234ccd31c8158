"""A video as a judge gets it: decoded once, one frame after the other; kept are those that are looked at, or all.

Beside it go three plain measures of any video, whatever it shows, on frames shrunk to `WIDE` columns:

smoothness   1 − the mean difference between a frame and the mean of its two neighbours, as a share of full scale: 1 for
             a still or an even fade, less where things jump (the idea of VBench's motion smoothness, without a model)
dynamics     the mean over pairs of frames of the largest 5 % of optical flow (Farnebäck, "Two-frame motion estimation
             based on polynomial expansion", 2003), in widths of the picture a second
sharpness    the mean variance of the Laplacian of the frames, of grey values from 0 to 255 (Pech-Pacheco et al.,
             "Diatom autofocusing in brightfield microscopy", 2000)
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.evaluate.protocol import STRIDE, Picture, chosen_frames
from schemas.base import Record

WIDE = 160
"""Columns of the frames that are measured, so that videos of several sizes are measured alike."""

_TOP = 0.05


class Measures(Record):
    """As in the head of the file."""

    smoothness: float
    dynamics: float
    sharpness: float


MEASURES = tuple(Measures.model_fields)


@dataclass(frozen=True)
class Footage:
    """The frames of one video."""

    count: int
    fps: float
    height: int
    width: int
    pictures: dict[int, Picture]
    """By number, RGB uint8 [H, W, 3]: those of `chosen_frames`, and all of them where `whole` was asked."""
    measures: Measures

    @property
    def chosen(self) -> list[int]:
        return chosen_frames(self.count)


def watch(video: Path, whole: bool = False) -> Footage:
    """Every frame is decoded: what a container says of its length may be wrong. ValueError where the file holds no
    video, fewer than two frames or several sizes; FFmpegError where it cannot be decoded."""
    meter = _Meter()
    pictures: dict[int, Picture] = {}
    with av.open(str(video)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        fps = float(container.streams.video[0].average_rate or 0)
        for number, frame in enumerate(container.decode(video=0)):
            picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            if number and picture.shape != pictures[0].shape:
                raise ValueError(f"frame {number} has another size than the first")
            if number and not whole and (number - 1) % STRIDE:
                del pictures[number - 1]  # it was kept as it might have been the last
            pictures[number] = picture
            meter.see(picture)
    if not pictures or not fps:
        raise ValueError("no frame that can be decoded, or no frame rate")
    count = meter.count
    chosen_frames(count)  # says so where there is one frame only
    height, width = pictures[0].shape[:2]
    return Footage(count, fps, height, width, pictures, meter.measures(fps))


class _Meter:
    """Measures frames as they come; keeps two."""

    def __init__(self) -> None:
        self.count = 0
        self._last: list[NDArray[np.uint8]] = []
        self._jumps: list[float] = []
        self._flows: list[float] = []
        self._edges: list[float] = []

    def see(self, picture: Picture) -> None:
        high = max(1, round(picture.shape[0] * WIDE / picture.shape[1]))
        small = cv2.resize(picture, (WIDE, high), interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        self.count += 1
        self._edges.append(float(cv2.Laplacian(grey, cv2.CV_64F).var()))
        if self._last:
            start = np.zeros((*grey.shape, 2), np.float32)
            flow = cv2.calcOpticalFlowFarneback(self._last[-1], grey, start, 0.5, 3, 15, 3, 5, 1.2, 0)
            far = np.sort(np.linalg.norm(flow, axis=2), axis=None)
            self._flows.append(float(far[-max(1, round(_TOP * far.size)) :].mean()) / WIDE)
        if len(self._last) == 2:
            before, between = (frame.astype(float) for frame in self._last)
            self._jumps.append(float(np.abs(between - (before + grey) / 2).mean()) / 255)
        self._last = [*self._last[-1:], grey]

    def measures(self, fps: float) -> Measures:
        return Measures(
            smoothness=1 - fmean(self._jumps or [0.0]), dynamics=fmean(self._flows) * fps, sharpness=fmean(self._edges)
        )
