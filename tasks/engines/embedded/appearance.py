"""Colour models: smoothed Lab histograms, read as log densities against the uniform one."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

L_STEP, AB_STEP, AB_LOW, AB_HIGH = 8, 4, 64, 192
L_BINS, AB_BINS = 256 // L_STEP, (AB_HIGH - AB_LOW) // AB_STEP
BINS = L_BINS * AB_BINS * AB_BINS
_DENSITY = 256.0**3 / (L_STEP * AB_STEP * AB_STEP)
"""Density of a bin that holds everything, relative to the uniform density over the Lab cube."""

FLOOR = 0.2
"""Relative density of a colour that was never seen: below the unknown thing's 1, so that it wins there."""

Codes = NDArray[np.uint16]


def codes(lab: NDArray[np.uint8]) -> Codes:
    """Histogram bin of each pixel: Lab uint8 [..., 3] → [...]."""
    light = lab[..., 0].astype(np.uint16) // np.uint16(L_STEP)
    a, b = (
        (np.clip(lab[..., c], AB_LOW, AB_HIGH - 1).astype(np.uint16) - np.uint16(AB_LOW)) // np.uint16(AB_STEP)
        for c in (1, 2)
    )
    return np.asarray((light * np.uint16(AB_BINS) + a) * np.uint16(AB_BINS) + b, dtype=np.uint16)


def histogram(pixels: Codes) -> NDArray[np.float32]:
    """Shares of the bins [BINS], smoothed by about a bin; zeros for no pixels."""
    counts = np.bincount(pixels.ravel(), minlength=BINS).reshape(L_BINS, AB_BINS, AB_BINS)
    smooth = ndimage.gaussian_filter(counts.astype(np.float32), (1.0, 0.8, 0.8), mode="nearest", truncate=3.0)
    return np.asarray(smooth.ravel() / max(float(smooth.sum()), 1e-6), dtype=np.float32)


def mix(pixels: Codes) -> NDArray[np.float32]:
    """Shares of the colours in bins twice as wide, smoothed [BINS / 8]: to compare whole masks by `alike`."""
    light, tint = np.divmod(pixels.ravel().astype(np.int32), AB_BINS * AB_BINS)
    a, b = np.divmod(tint, AB_BINS)
    half = AB_BINS // 2
    wide = ((light // 2) * half + a // 2) * half + b // 2
    counts = np.bincount(wide, minlength=BINS // 8).reshape(L_BINS // 2, half, half)
    smooth = ndimage.gaussian_filter(counts.astype(np.float32), 0.7, truncate=2.5)
    return np.asarray(smooth.ravel() / max(float(smooth.sum()), 1e-6), dtype=np.float32)


def own(inside: NDArray[np.float32], around: NDArray[np.float32]) -> NDArray[np.float32]:
    """The colours inside that set it apart: those commoner around than inside are all but left out."""
    kept = inside**3 / np.maximum(inside**2 + around**2, 1e-12)
    return np.asarray(kept / max(float(kept.sum()), 1e-6), dtype=np.float32)


def log_density(shares: NDArray[np.float32], floor: float = FLOOR) -> NDArray[np.float32]:
    """Table [BINS] of log density relative to uniform."""
    return np.asarray(np.log(shares * np.float32(_DENSITY) + np.float32(floor)), dtype=np.float32)


def shaded(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same colours as they look in a shadow that takes a tenth to four tenths of the lightness."""
    cube = shares.reshape(L_BINS, AB_BINS * AB_BINS)
    dark = np.zeros_like(cube)
    for factor in (0.9, 0.8, 0.7, 0.6):
        place = (np.arange(L_BINS) + 0.5) * factor - 0.5
        low = np.clip(np.floor(place).astype(int), 0, L_BINS - 1)
        part = np.clip(place - low, 0, 1).astype(np.float32)[:, None]
        np.add.at(dark, low, cube * (1 - part) / 4)
        np.add.at(dark, np.minimum(low + 1, L_BINS - 1), cube * part / 4)
    return dark.ravel()


def alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Bhattacharyya coefficient of two histograms, 0 to 1."""
    return float(np.sqrt(a * b).sum())


def to_lab(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB [T, H, W, 3] → Lab uint8 [T, h, w, 3] at `size` = (h, w)."""
    h, w = size
    small = frames
    if frames.shape[1:3] != size:
        small = np.stack([cv2.resize(f, (w, h), interpolation=cv2.INTER_AREA) for f in frames])
    return np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2LAB) for f in small])
