"""Perceptual hashes of pictures: 64 bits of the signs of a picture's lowest frequencies, alike for alike pictures."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Pictures are shrunk to SIDE × SIDE before the transform."""

LOW = 8
"""The hash covers the lowest LOW × LOW frequencies."""


def picture_hash(picture: NDArray[np.uint8]) -> str:
    """16 hex digits for an RGB picture uint8 [H, W, 3]."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:LOW, :LOW].ravel()
    low[0] = 0.0  # brightness as a whole says nothing about the content
    bits = low > np.median(low)
    return np.packbits(bits).tobytes().hex()


def evenly(count: int, wanted: int) -> list[int]:
    """`wanted` indices out of `count`, evenly spaced, none at the very ends."""
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def hashes(pictures: Sequence[NDArray[np.uint8]], wanted: int) -> tuple[str, ...]:
    """Hashes of `wanted` evenly spaced pictures."""
    return tuple(picture_hash(pictures[i]) for i in evenly(len(pictures), wanted))


def as_bits(hexes: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes as uint64 [n]."""
    return np.array([int(h, 16) for h in hexes], dtype=np.uint64)
