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


def refine(
    lab: NDArray[np.uint8], masks: Sequence[Mask], plate: NDArray[np.float32], known: Mask, noise: float = 8.0
) -> list[Mask]:
    """Masks [H, W], one per mask given at working size [h, w].

    lab: the frame [H, W, 3]; plate: the background as this frame sees it [H, W, 3], where `known`. In a band along the
    edges each pixel goes to the label whose colour nearby is the most like its own.
    """
    height, width = lab.shape[:2]
    taken = np.zeros((height, width), dtype=np.float32)
    soft = []
    for m in masks:
        s = cv2.resize(cv2.GaussianBlur(m.astype(np.float32), (0, 0), 0.6), (width, height), interpolation=cv2.INTER_LINEAR)
        soft.append(np.asarray(s))
        taken += soft[-1]
    shares = [np.clip(1 - taken, 0, 1), *soft]
    band = np.maximum.reduce(shares) < CORE
    if not band.any():
        return [s > 0.5 for s in soft]
    rows, columns = np.flatnonzero(band.any(1)), np.flatnonzero(band.any(0))
    window = (
        slice(max(int(rows[0]) - 12, 0), int(rows[-1]) + 13),
        slice(max(int(columns[0]) - 12, 0), int(columns[-1]) + 13),
    )
    part, inside = lab[window].astype(np.float32), band[window]
    costs = []
    for k, share in enumerate(shares):
        own = share[window]
        core = (own >= CORE).astype(np.float32)
        weight = cv2.GaussianBlur(core, (0, 0), REACH)
        mean = cv2.GaussianBlur(part * core[..., None], (0, 0), REACH) / np.maximum(weight, 1e-4)[..., None]
        off = (((part - mean) / noise) ** 2).sum(-1)
        off = np.where(weight > 1e-3, np.minimum(off, 12.0), 6.0)
        if k == 0:
            off = np.where(known[window], np.minimum((((part - plate[window]) / noise) ** 2).sum(-1), 12.0), off)
        costs.append(0.5 * off - EDGE_WEIGHT * np.log(own + 0.02))
    costs = [np.asarray(cv2.GaussianBlur(c.astype(np.float32), (0, 0), 0.7)) for c in costs]
    decided = np.stack(costs).argmin(0)
    result = []
    for k, s in enumerate(soft):
        full = s > 0.5
        view = full[window]
        view[inside] = decided[inside] == k + 1
        result.append(full)
    return result
