"""One map from a stored clip to a training clip, for video, masks and ID map alike.

Frames 0, s, 2s, …; then cover and centre crop; then, where asked for, left and right change sides. Pixel centres agree:
what a mask covers in the stored clip, it covers in the training clip.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.data.config import DataConfig
from matrix_train.data.plan import digest

Label = TypeVar("Label", np.uint8, np.bool_)

_SIDES = re.compile(r"\b(?:left|right)|clockwise|\b(?:east|west)(?:\b|ern|ward)|\b(?:port|starboard) side")


@dataclass(frozen=True)
class Geometry:
    """Size of the training clip in frames and pixels, and the step between the stored frames it takes."""

    frames: int
    height: int
    width: int
    frame_step: int = 1

    @classmethod
    def of(cls, config: DataConfig) -> "Geometry":
        """Whether a size fits is for the model to say (`Backbone.grid`)."""
        return cls(config.frames, config.height, config.width, config.frame_step)

    @property
    def taken(self) -> range:
        """Indices of the stored frames that are shown."""
        return range(0, self.span, self.frame_step)

    @property
    def span(self) -> int:
        """Frames that a stored clip must have."""
        return (self.frames - 1) * self.frame_step + 1

    def video(self, frames: NDArray[np.uint8], flip: bool = False) -> NDArray[np.uint8]:
        """RGB [T, h, w, 3] → [T, height, width, 3]: area average where it shrinks, bilinear where it grows."""
        fit = self._fit(*frames.shape[1:3])
        if fit is not None:
            method = cv2.INTER_AREA if fit.height <= frames.shape[1] else cv2.INTER_LINEAR
            frames = np.stack([
                cv2.resize(frame, (fit.width, fit.height), interpolation=method)[
                    fit.top : fit.top + self.height, fit.left : fit.left + self.width
                ]
                for frame in frames
            ])  # fmt: skip
        return np.ascontiguousarray(frames[:, :, ::-1]) if flip else frames

    def labels(self, labels: NDArray[Label], flip: bool = False) -> NDArray[Label]:
        """Masks or palette indices [..., h, w] → [..., height, width]: each pixel is that of the nearest centre."""
        fit = self._fit(*labels.shape[-2:])
        if fit is not None:
            rows = _nearest(self.height, fit.top, fit.height, labels.shape[-2])
            columns = _nearest(self.width, fit.left, fit.width, labels.shape[-1])
            labels = labels[..., rows[:, None], columns]
        return np.ascontiguousarray(labels[..., ::-1]) if flip else labels

    def _fit(self, height: int, width: int) -> "_Fit | None":
        """How a stored size is scaled and cut; None where it is the training size already."""
        if (height, width) == (self.height, self.width):
            return None
        scale = max(self.height / height, self.width / width)
        scaled = max(self.height, round(height * scale)), max(self.width, round(width * scale))
        return _Fit(*scaled, (scaled[0] - self.height) // 2, (scaled[1] - self.width) // 2)


@dataclass(frozen=True)
class _Fit:
    """Scaled size in pixels, and what is cut off above and on the left."""

    height: int
    width: int
    top: int
    left: int


def _nearest(length: int, offset: int, scaled: int, stored: int) -> NDArray[np.int64]:
    """The stored pixel under the centre of each of `length` pixels from `offset` on, of `scaled` in all."""
    # In whole numbers: floor((i + 1/2) · stored / scaled).
    nearest: NDArray[np.int64] = (2 * np.arange(offset, offset + length) + 1) * stored // (2 * scaled)
    return nearest


def names_side(caption: str) -> bool:
    """Whether mirroring could make an (English) caption untrue: it says left, right, clockwise, east or the like."""
    return bool(_SIDES.search(unicodedata.normalize("NFKC", caption).lower()))


def drawn_to_flip(key: str, seed: int, epoch: int, share: float) -> bool:
    """Whether a sample is to be mirrored in this epoch: the same answer in every process."""
    return digest(f"flip {seed} {epoch} {key}") < share * 2**64
