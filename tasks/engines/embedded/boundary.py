"""Masks at working size brought to the frame's own size, with their edges put where the colours change."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

CORE = 0.97
"""A pixel with this much of one label, after upsampling, is settled; the rest is the band to be decided."""
REACH = 5.0
"""Sigma in pixels over which the colours of the settled pixels are gathered."""
EDGE_WEIGHT = 3.0
"""How far the upsampled label itself counts, in units of log share."""
NOISE = 8.0
"""Standard deviation of a label's colour about its mean nearby, in Lab units."""
MOST = 12.0
"""A squared distance beyond this says no more."""


def refine(lab: NDArray[np.uint8], masks: Sequence[Mask], plate: NDArray[np.float32], known: Mask) -> list[Mask]:
    """Masks [H, W], one per mask given at working size [h, w].

    lab: the frame [H, W, 3]; plate: the background as this frame sees it [H, W, 3], where `known`. In a band along the
    edges each pixel goes to the label whose colour nearby is the most like its own.
    """
    height, width = lab.shape[:2]
    soft = [
        np.asarray(cv2.resize(cv2.GaussianBlur(m.astype(np.float32), (0, 0), 0.6), (width, height))) for m in masks
    ]  # fmt: skip
    rest = np.clip(1 - np.sum(soft, axis=0, dtype=np.float32), 0, 1)
    # The background first, everywhere near a mask; then each mask in its own window, if it costs less.
    cost = np.full((height, width), np.inf, dtype=np.float32)
    labels = np.zeros((height, width), dtype=np.uint8)
    windows = [_window(s) for s in soft]
    for window in windows:
        if window is not None:
            part = lab[window].astype(np.float32)
            off = np.minimum((((part - plate[window]) / NOISE) ** 2) @ np.ones(3, dtype=np.float32), MOST)
            off = np.where(known[window], off, _unlike(part, rest[window]))
            cost[window] = _cost(off, rest[window])
    for k, (share, window) in enumerate(zip(soft, windows, strict=True)):
        if window is not None:
            mine = _cost(_unlike(lab[window].astype(np.float32), share[window]), share[window])
            wins = mine < cost[window]
            cost[window][wins] = mine[wins]
            labels[window][wins] = k + 1
    settled = np.maximum.reduce([rest, *soft]) >= CORE
    return [np.where(settled, s > 0.5, labels == k + 1) for k, s in enumerate(soft)]


def _window(share: NDArray[np.float32]) -> tuple[slice, slice] | None:
    there = share > 0.01
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    if not rows.size:
        return None
    margin = 8
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def _unlike(colour: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distance of each colour to the mean of the label's settled pixels nearby; `MOST` / 2 without any."""
    core = (share >= CORE).astype(np.float32)
    weight = np.asarray(cv2.GaussianBlur(core, (0, 0), REACH))
    mean = np.asarray(cv2.GaussianBlur(colour * core[..., None], (0, 0), REACH)) / np.maximum(weight, 1e-4)[..., None]
    off = (((colour - mean) / NOISE) ** 2) @ np.ones(3, dtype=np.float32)
    return np.where(weight > 1e-3, np.minimum(off, MOST), np.float32(MOST / 2))


def _cost(off: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    total = 0.5 * off - EDGE_WEIGHT * np.log(share + 0.02)
    return np.asarray(cv2.GaussianBlur(total.astype(np.float32), (0, 0), 0.7))
