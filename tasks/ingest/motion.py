"""Does anything move in a clip? docs/stages/ingest.md, step 5."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_CELLS = 30
"""Cells along the shorter side: a thing a sixtieth of it wide that passes over a cell still changes it by a fifth."""


def motion(pictures: Sequence[NDArray[np.uint8]]) -> float:
    """The most that a cell of the picture changes between any two of the pictures, in grey levels of 255.

    Cells average an encoder's noise away. What changes all over by as much, as brightness in a fade, is not counted.
    """
    height, width = pictures[0].shape[:2]
    scale = min(1.0, _CELLS / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    cells = [_cells(p, size) for i, p in enumerate(pictures) if not i or p is not pictures[i - 1]]
    changes = np.stack(cells) - cells[0]
    changes -= np.median(changes, axis=(1, 2), keepdims=True)
    return float((changes.max(axis=0) - changes.min(axis=0)).mean(axis=-1).max())


def _cells(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
