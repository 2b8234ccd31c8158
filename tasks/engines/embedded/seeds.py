"""The first mask of an ID, cut out of its anchor box by colour and by difference from the background."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.embedded import appearance
from tasks.engines.embedded.segments import FLAT, average, segment

Region = tuple[int, int, int, int]
"""x0, y0, x1, y1 in working pixels, exclusive ends, inside the frame."""

ROUNDS = 6
STRANGE = 2.5
"""Log density, within the box, of colours that no model knows: what the background does not explain is the thing's."""
JITTER = 0.06
"""How far a thing may reach out of its box, as a share of the side."""
MOVES = 1.2
"""How much more must differ from the plate than stand out and agree with it, for the thing to be one that moves."""
STRETCHES = 4
TIGHT = 0.09
"""A mask ends within this share of the box's side from each edge of the box, or is stretched."""
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
    fresh = _gauss(colour, plate, spread, floor)
    # The plate shows a thing that never moves: it is believed only where it looks like what is around the box ...
    believed = (_beside(plate, ring, floor & False) > 5) & (plain[appearance.codes(plate.astype(np.uint8))] > 0)
    # ... unless most of what stands out in the box is not on the plate: the thing moves, the rest is in its way.
    strange = outside < STRANGE
    stands_out, moved = inside & strange, inside & (fresh < STRANGE)
    if moved.sum() > MOVES * (stands_out & ~moved).sum() and moved.sum() > 0.2 * inside.sum():
        believed |= inside
    outside = np.where(believed, np.maximum(fresh, outside - 6), np.maximum(outside, plain[codes] - 2))

    inside &= ~_foreign(colour, inside, strange)
    dx, dy = JITTER * (x1 - x0), JITTER * (y1 - y0)
    beyond = ring & ((xs < x0 - dx) | (xs >= x1 + dx) | (ys < y0 - dy) | (ys >= y1 + dy)) & strange
    parts = segment(lab)
    even = 0.3 * outside + 0.7 * average(outside, parts)
    u = (xs - (x0 + x1 - 1) / 2) / ((x1 - x0) / 2)
    v = (ys - (y0 + y1 - 1) / 2) / ((y1 - y0) / 2)
    centred = np.asarray(1.0 - 1.5 * (u**2), dtype=np.float32).clip(-1, 1)
    mask = inside & ((even < STRANGE) | ((np.abs(u) < 0.4) & (np.abs(v) < 0.95) & (even < 6)))
    dusk = floor & (_beside(colour, ring, floor) > 5)
    bonus = np.zeros_like(centred)
    for _ in range(STRETCHES):
        mask = _settle(codes, local, codes[beyond], outside, centred + bonus, inside, dusk, parts, mask)
        short = _short(mask, (x0 - left, y0 - top, x1 - left, y1 - top))
        if not short.any():
            break
        bonus = np.where(short, bonus + 2, bonus)
    full = np.zeros((h, w), dtype=bool)
    full[window] = mask
    return full


def _settle(
    codes: appearance.Codes,
    local: NDArray[np.float32],
    others: appearance.Codes,
    outside: NDArray[np.float32],
    bonus: NDArray[np.float32],
    inside: NDArray[np.bool_],
    dusk: NDArray[np.bool_],
    parts: NDArray[np.int32],
    mask: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """The mask and its colour model, each made from the other in turn.

    local: shares of the colours around the box; others: the pixels around it that are things of their own.
    """
    for k in range(ROUNDS):
        sample = mask & ~dusk
        if not sample.any():
            sample = inside
        shares = appearance.own(appearance.histogram(codes[sample]), local)
        shares = appearance.own(shares, appearance.histogram(others) * np.float32(2 * len(others) / sample.sum()))
        ours = np.maximum(appearance.log_density(shares)[codes], np.float32(STRANGE))
        score = (np.clip(ours - outside, -12, 6) + bonus).astype(np.float32)
        share = 0.7 if k < ROUNDS - 1 else 0.3
        score = (1 - share) * np.asarray(cv2.GaussianBlur(score, (0, 0), 1.0)) + share * average(score, parts)
        mask = _solid(inside & (score > 0))
    return mask


def _short(mask: NDArray[np.bool_], box: Region) -> NDArray[np.bool_]:
    """The parts of the box beyond the mask's ends, where the mask ends well within: the box was drawn around more."""
    x0, y0, x1, y1 = box
    result = np.zeros_like(mask)
    if not mask.any():
        return result
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = TIGHT * (y1 - y0), TIGHT * (x1 - x0)
    if rows[0] - y0 > height:
        result[y0 : rows[0], x0:x1] = True
    if y1 - rows[-1] > height:
        result[rows[-1] : y1, x0:x1] = True
    if columns[0] - x0 > width:
        result[y0:y1, x0 : columns[0]] = True
    if x1 - columns[-1] > width:
        result[y0:y1, columns[-1] : x1] = True
    return result


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


def _foreign(colour: NDArray[np.float32], inside: NDArray[np.bool_], strange: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Patches of one colour, unlike the background, that reach into the box but lie mostly outside of it."""
    lab = cv2.GaussianBlur(colour, (0, 0), 0.7)
    slope = np.sqrt(
        (cv2.Sobel(lab, cv2.CV_32F, 1, 0, scale=1 / 8) ** 2 + cv2.Sobel(lab, cv2.CV_32F, 0, 1, scale=1 / 8) ** 2).sum(
            -1
        )
    )
    flat = (strange & (slope < FLAT)).astype(np.uint8)
    count, parts = cv2.connectedComponents(flat, connectivity=4)
    total = np.bincount(parts.ravel(), minlength=count)
    within = np.bincount(parts[inside], minlength=count)
    bad = (within > 0) & (total - within > 0.8 * within) & (total >= 40)
    bad[0] = False
    return np.asarray(cv2.dilate(bad[parts].astype(np.uint8), np.ones((5, 5), np.uint8))) > 0


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without parts below a twentieth of the biggest one."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= areas.max() / 20)[parts])
