"""Does anything move in a clip? docs/stages/ingest.md, step 5."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_CELLS = 30
"""Cells along the shorter side. A dot as wide as half a cell that passes over one still changes it by a fifth."""

_NOISE_SHARE, _NOISE_LIMIT = 4.0, 8.0
"""A coarse encoder changes still pictures all over at each key frame, its worst cell up to four times as much as the
usual one. Where the usual one changes by more than 8 levels, that is rather the camera's motion."""


def motion(pictures: Sequence[NDArray[np.uint8]]) -> float:
    """By how much the most changed cell of RGB pictures [H, W, 3] stands out of an encoder's noise, in levels of 255.

    A cell's change is the range of its mean over time. What all cells do alike, as in a fade, is not counted.
    """
    height, width = pictures[0].shape[:2]
    scale = min(1.0, _CELLS / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    cells = [_cells(p, size) for i, p in enumerate(pictures) if not i or p is not pictures[i - 1]]
    changes = np.stack(cells) - cells[0]
    changes -= np.median(changes, axis=(1, 2), keepdims=True)
    ranges = (changes.max(axis=0) - changes.min(axis=0)).mean(axis=-1)
    noise = _NOISE_SHARE * min(float(np.median(ranges)), _NOISE_LIMIT)
    return max(0.0, float(ranges.max()) - noise)


def _cells(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
