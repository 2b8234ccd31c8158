"""Joint labelling: every pixel of a frame goes to the background, to something unknown, or to one of the IDs.

Each ID's score at a pixel is its colour's log density plus a prior from where its mask was in the neighbouring frame,
carried by the flow. All IDs compete at once, so that a thing in a hand stays apart from the hand, and two that share a
colour keep to their places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.embedded import appearance
from tasks.engines.embedded.appearance import Codes
from tasks.engines.embedded.flow import Motion, carry
from tasks.engines.embedded.seeds import Region

Mask = NDArray[np.bool_]
Scores = NDArray[np.float32]

UNKNOWN = 1.0
"""Log density of a thing of any colour: what neither the plate nor a model explains."""
INSIDE, EDGE, FAR = 3.0, 1.0, -6.0
"""The prior deep inside the expected mask, at its edge, and far outside."""
ANCHORED = 3.0
"""Added inside the first mask at the anchor frame, where an ID's place is certain."""
LOST_PRIOR = -2.0
"""The prior of an ID whose place is not known."""
MIN_ALIKE = 0.55
"""A part that is taken for a lost ID must have its mix of colours to this Bhattacharyya coefficient."""
MIN_BACK = 0.06
"""And at least this share of its area at the anchor."""


@dataclass
class Subject:
    """One ID on its way through the clip, at working size."""

    anchor: int
    box: Region
    seed: Mask
    masks: list[Mask | None]
    """Per frame: None before it was looked at."""
    shares: NDArray[np.float32] = field(default_factory=lambda: np.zeros(appearance.BINS, dtype=np.float32))
    """Colour histogram [BINS]."""
    table: NDArray[np.float32] = field(default_factory=lambda: np.zeros(appearance.BINS, dtype=np.float32))

    def learn(self, shares: NDArray[np.float32]) -> None:
        self.shares, self.table = shares, appearance.log_density(shares)

    def at(self, t: int) -> Mask | None:
        """The mask at a frame as far as it is known now."""
        return self.seed if t == self.anchor and self.masks[t] is None else self.masks[t]


def sweep(
    subjects: Sequence[Subject], codes: Codes, background: Sequence[Scores], motion: Motion, forward: bool
) -> None:
    """Label every frame once in the given direction; each subject from its anchor frame on, or wherever a mask is.

    codes: [T, h, w]; background: per frame the log density of the background [h, w].
    """
    frames = len(codes)
    order = range(frames) if forward else range(frames - 1, -1, -1)
    for t in order:
        before = t - 1 if forward else t + 1
        flow = motion.to_neighbour(t, before) if 0 <= before < frames else None
        _label(subjects, t, before, codes[t], background[t], flow)


def _label(
    subjects: Sequence[Subject], t: int, before: int, codes: Codes, background: Scores, flow: NDArray[np.float32] | None
) -> None:
    colour = [s.table[codes] for s in subjects]
    ground = np.maximum(background, np.float32(UNKNOWN))
    expected = [_expected(s, t, before, flow) for s in subjects]
    for k, (s, (_, place)) in enumerate(zip(subjects, expected, strict=True)):
        if place is not None and t != s.anchor:
            moved = _follow(place, colour[k], ground)
            if moved is not None:
                expected[k] = (_prior(moved), moved)
    scores = np.stack([ground, *(c + p for c, (p, _) in zip(colour, expected, strict=True))])
    scores = np.stack([np.asarray(cv2.GaussianBlur(np.clip(x, -8, 14), (0, 0), 0.7)) for x in scores])
    labels = scores.argmax(0)
    for k, (s, (_, place)) in enumerate(zip(subjects, expected, strict=True)):
        mine = labels == k + 1
        active = t == s.anchor or (s.masks[t] is not None) or (0 <= before < len(s.masks) and s.masks[before] is not None)
        if not active:
            continue
        s.masks[t] = _near(mine, place) if place is not None else _found(mine, s, codes)


def _expected(s: Subject, t: int, before: int, flow: NDArray[np.float32] | None) -> tuple[Scores, Mask | None]:
    """Prior [h, w] and expected mask of a subject at frame t; no mask where its place is not known."""
    places = []
    if t == s.anchor:
        places.append(s.seed)
    elif flow is not None:
        last = s.masks[before]
        if last is not None and last.any():
            carried = carry(last.astype(np.float32), flow) > 0.5
            if carried.any():
                places.append(carried)
    now = s.masks[t]
    if now is not None and now.any():
        places.append(now)
    if not places:
        return np.full(s.seed.shape, LOST_PRIOR, dtype=np.float32), None
    prior = np.mean([_prior(p) for p in places], axis=0, dtype=np.float32)
    if t == s.anchor:
        x0, y0, x1, y1 = s.box
        mx, my = (x1 - x0) // 8 + 1, (y1 - y0) // 8 + 1
        outside = np.ones_like(s.seed)
        outside[max(y0 - my, 0) : y1 + my, max(x0 - mx, 0) : x1 + mx] = False
        prior[outside] = FAR
        prior[s.seed] += ANCHORED
    return np.asarray(prior), places[0] if len(places) == 1 else places[0] | places[1]


def _prior(mask: Mask) -> Scores:
    """From the signed distance to the mask's edge, in steps of how far such a thing may stray unseen by the flow."""
    reach = 4.0 + 0.03 * float(np.sqrt(mask.sum()))
    packed = mask.astype(np.uint8)
    inner = cv2.distanceTransform(packed, cv2.DIST_L2, 3)
    outer = cv2.distanceTransform(1 - packed, cv2.DIST_L2, 3)
    return np.clip(EDGE + 2 / reach * (np.asarray(inner) - np.asarray(outer)), FAR, INSIDE).astype(np.float32)


def _follow(place: Mask, colour: Scores, ground: Scores) -> Mask | None:
    """The expected mask shifted to where the colours are, if the flow has plainly lost it; None where it has not."""
    gain = np.clip(colour - ground, -3, 3)
    here = float(gain[place].mean())
    if here > 0.5:
        return None
    small = np.asarray(cv2.resize(gain, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    shape = np.asarray(cv2.resize(place.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    y0, x0 = int(rows[0]), int(columns[0])
    template = shape[y0 : rows[-1] + 1, x0 : columns[-1] + 1]
    if template.sum() < 2 or template.shape[0] > small.shape[0] or template.shape[1] > small.shape[1]:
        return None
    match = np.asarray(cv2.matchTemplate(small, template, cv2.TM_CCORR)) / float(template.sum())
    ys, xs = np.mgrid[0 : match.shape[0], 0 : match.shape[1]]
    match = match - 0.02 * np.hypot(ys - y0, xs - x0)
    dy, dx = np.unravel_index(int(match.argmax()), match.shape)
    if match.max() < max(here + 0.7, 0.5):
        return None
    h, w = place.shape
    step = np.array([[1, 0, 2.0 * (dx - x0)], [0, 1, 2.0 * (dy - y0)]])
    moved = np.asarray(cv2.warpAffine(place.astype(np.uint8), step, (w, h), flags=cv2.INTER_NEAREST)) > 0
    return moved if moved.any() else None


def _near(mine: Mask, place: Mask) -> Mask:
    """Without specks and without parts that lie apart from the expected mask."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mine.astype(np.uint8), connectivity=8)
    if count == 1:
        return mine
    reach = 6.0 + 0.1 * float(np.sqrt(place.sum()))
    away = np.asarray(cv2.distanceTransform(1 - place.astype(np.uint8), cv2.DIST_L2, 3))
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = areas >= max(3, 0.01 * areas[1:].max())
    touching = np.zeros(count, dtype=bool)
    touching[np.unique(parts[away <= reach])] = True
    keep &= touching
    keep[0] = False
    return np.asarray(keep[parts])


def _found(mine: Mask, s: Subject, codes: Codes) -> Mask:
    """The part that looks like a lost subject come back; empty where none does."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mine.astype(np.uint8), connectivity=8)
    least = max(10.0, MIN_BACK * float(s.seed.sum()))
    best, worth = 0, 0.0
    for k in range(1, count):
        area = float(stats[k, cv2.CC_STAT_AREA])
        if area >= least:
            like = appearance.alike(appearance.histogram(codes[parts == k]), s.shares)
            if like >= MIN_ALIKE and area * like > worth:
                best, worth = k, area * like
    return np.asarray(parts == best) if best else np.zeros_like(mine)
