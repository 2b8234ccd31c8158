"""The first mask of an ID, cut out of its anchor box by colour and by difference from the background."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.embedded import appearance
from tasks.engines.embedded.segments import average, segment

Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 in working pixels, exclusive ends, inside the frame."""

ROUNDS = 6
STRANGE = 2.5
"""Log density, within the box, of colours that no model knows: what the background does not explain is the thing's."""
FEET = 0.15
"""The lowest part of the box, as a share of its longer side, where a dark patch may be the thing's shadow."""
MIN_SPREAD = (5.0, 2.0, 2.0)
"""Least standard deviation of a background's Lab values."""


def cut(
    lab: NDArray[np.uint8],
    plate: NDArray[np.float32],
    spread: NDArray[np.float32],
    box: Region,
    others: Sequence[Region],
) -> NDArray[np.bool_]:
    """Mask [h, w] inside the box.

    lab: the frame [h, w, 3]; plate, spread: the background as this frame sees it; others: boxes of other IDs in the
    same frame. Colour models of the inside and of a ring outside are made in turn with the mask, as GrabCut does,
    without its random start.
    """
    h, w = lab.shape[:2]
    x0, y0, x1, y1 = box
    margin = max(6, (x1 - x0 + y1 - y0) // 6)
    # All work is done in a window around the box.
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    window = (slice(top, min(y1 + margin, h)), slice(left, min(x1 + margin, w)))
    lab, plate, spread = lab[window], plate[window], spread[window]
    ys, xs = np.mgrid[window]
    codes = appearance.codes(lab)
    inside = (xs >= x0) & (xs < x1) & (ys >= y0) & (ys < y1)
    ring = ~inside
    for a0, b0, a1, b1 in others:
        ring &= ~((xs >= a0) & (xs < a1) & (ys >= b0) & (ys < b1))
    if ring.sum() < 50:
        ring = ~inside
    local = appearance.histogram(codes[ring])
    plain = appearance.log_density(local)
    floor = ys > y1 - FEET * max(y1 - y0, x1 - x0)

    colour = lab.astype(np.float32)
    outside = _beside(colour, ring, floor)
    # The plate shows a thing that never moves: it is believed only where it looks like what is around the box.
    believed = (_beside(plate, ring, floor & False) > 5) & (plain[appearance.codes(plate.astype(np.uint8))] > 0)
    fresh = _gauss(colour, plate, spread, floor)
    outside = np.where(believed, np.maximum(fresh, outside - 6), np.maximum(outside, plain[codes] - 2))

    parts = segment(lab)
    even = 0.3 * outside + 0.7 * average(outside, parts)
    u = (xs - (x0 + x1 - 1) / 2) / ((x1 - x0) / 2)
    v = (ys - (y0 + y1 - 1) / 2) / ((y1 - y0) / 2)
    centred = np.asarray(1.0 - 1.5 * (u**2), dtype=np.float32).clip(-1, 1)
    mask = inside & ((even < STRANGE) | ((np.abs(u) < 0.4) & (np.abs(v) < 0.95) & (even < 6)))
    dusk = floor & (_beside(colour, ring, floor) > 5)
    for k in range(ROUNDS):
        sample = mask & ~dusk
        if not sample.any():
            sample = inside
        shares = appearance.own(appearance.histogram(codes[sample]), local)
        ours = np.maximum(appearance.log_density(shares)[codes], np.float32(STRANGE))
        score = (np.clip(ours - outside, -6, 6) + centred).astype(np.float32)
        share = 0.7 if k < ROUNDS - 1 else 0.3
        score = (1 - share) * np.asarray(cv2.GaussianBlur(score, (0, 0), 1.0)) + share * average(score, parts)
        mask = _solid(inside & (score > 0))
    full = np.zeros((h, w), dtype=bool)
    full[window] = mask
    return full


def _beside(colour: NDArray[np.float32], ring: NDArray[np.bool_], floor: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Log density by the background seen in the same rows to the left and to the right of the box.

    In each row the median and spread of the ring's pixels on either side; the better of the two counts.
    """
    h, w, _ = colour.shape
    best = np.full((h, w), -20.0, dtype=np.float32)
    half = w // 2
    for side in (slice(0, half), slice(half, w)):
        for y in range(0, h, 4):
            near = slice(max(y - 4, 0), y + 8)
            pixels = colour[near, side][ring[near, side]]
            if len(pixels) < 12:
                continue
            mean = np.median(pixels, axis=0)
            sd = np.maximum(1.48 * np.median(np.abs(pixels - mean), axis=0), MIN_SPREAD)
            rows = slice(y, y + 4)
            best[rows] = np.maximum(best[rows], _gauss(colour[rows], mean, sd, floor[rows]))
    return best


def _gauss(
    colour: NDArray[np.float32], mean: NDArray[np.float32], sd: NDArray[np.float32], floor: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Log density relative to uniform of colours [..., 3]; on the floor a shadow of the mean counts too."""
    off = ((colour - mean) / sd) ** 2
    norm = 3 * np.log(256) - 1.5 * np.log(2 * np.pi) - np.log(sd).sum(-1)
    lit = norm - 0.5 * off.sum(-1)
    light = colour[..., 0] / np.maximum(mean[..., 0], 1)
    shade = norm + np.log(sd[..., 0] / (0.4 * mean[..., 0] + 1)) - 0.5 * off[..., 1:].sum(-1)
    shade = np.where(floor & (light > 0.6) & (light < 1), shade, -20)
    return np.asarray(np.maximum(lit, shade), dtype=np.float32)


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without parts below a twentieth of the biggest one."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= areas.max() / 20)[parts])
