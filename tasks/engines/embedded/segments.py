"""Small segments that keep to the edges of the picture, so that evidence can be averaged without crossing them."""

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 12
"""No segment is wider or higher than this many pixels."""
FLAT = 5.0
"""Gradient below which a pixel is certainly inside something, in Lab units per pixel."""


def segment(lab: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Segment numbers 0..n-1 of a frame [h, w, 3]: watershed from flat patches, cut by a grid."""
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.7)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    # Tints differ by less than lightness does.
    slope = np.sqrt((np.asarray(across) ** 2 + np.asarray(down) ** 2) @ np.array([1.0, 2.0, 2.0], dtype=np.float32))
    flat = (slope < FLAT).astype(np.uint8)
    flat[::CELL], flat[:, ::CELL] = 0, 0
    _, markers = cv2.connectedComponents(flat, connectivity=4)
    relief = cv2.merge([np.clip(slope * 4, 0, 255).astype(np.uint8)] * 3)
    found = np.asarray(cv2.watershed(relief, np.asarray(markers, dtype=np.int32)))
    return _without_lines(found)


def _without_lines(found: NDArray[np.int32]) -> NDArray[np.int32]:
    """Watershed lines (-1), and the crossings among them (0), given to a neighbour; numbers from 0 on."""
    packed = (found + 1).astype(np.float32)  # lines become 0
    packed[found <= 0] = 0
    for _ in range(3):
        spread = np.asarray(cv2.dilate(packed, np.ones((3, 3), np.uint8)))
        packed = np.where(packed == 0, spread, packed)
    return np.unique(packed.astype(np.int32), return_inverse=True)[1].reshape(found.shape).astype(np.int32)


def average(values: NDArray[np.float32], parts: NDArray[np.int32]) -> NDArray[np.float32]:
    """Mean of values [h, w] over each segment, as a picture."""
    flat = parts.ravel()
    total = np.bincount(flat, weights=values.ravel())
    count = np.bincount(flat)
    return np.asarray((total / np.maximum(count, 1))[parts], dtype=np.float32)
