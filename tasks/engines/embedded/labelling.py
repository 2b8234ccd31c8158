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
Window = tuple[slice, slice]

UNKNOWN = 1.0
"""Log density of a thing of any colour: what neither the plate nor a model explains."""
INSIDE, EDGE, FAR = 3.0, 1.0, -6.0
"""The prior deep inside the expected mask, at its edge, and far outside."""
NEAR = -3.0
"""A part must reach to where the prior is above this."""
APART = 0.2
"""Parts of one thing lie no further apart than this share of its anchor box's longer side."""
SHADE_COST, FEET_COST = 6.0, 2.5
"""Log odds against a background pixel lying in a shadow: anywhere, and at the lower end of an ID."""
FEET = 0.15
"""How far up and down from there, as a share of the mask's longer side."""
ANCHORED = 3.0
"""Added inside the first mask at the anchor frame, where an ID's place is certain."""
LOST_PRIOR = -2.0
"""The prior of an ID whose place is not known."""
MIN_ALIKE = 0.6
"""A part that is taken for a lost ID must have its mix of colours to this Bhattacharyya coefficient."""
MIN_KEPT = 0.5
"""A mask must keep it to this. On the world's true masks 0.5 % fall below 0.93, and other things reach 0.41."""
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
    mix: NDArray[np.float32] = field(default_factory=lambda: np.zeros(appearance.BINS // 8, dtype=np.float32))
    """The colours of its mask at the anchor, in wider bins."""

    def learn(self, shares: NDArray[np.float32]) -> None:
        self.shares, self.table = shares, appearance.log_density(shares)

    @property
    def apart(self) -> float:
        x0, y0, x1, y1 = self.box
        return max(8.0, APART * max(x1 - x0, y1 - y0))

    def at(self, t: int) -> Mask | None:
        """The mask at a frame as far as it is known now."""
        return self.seed if t == self.anchor and self.masks[t] is None else self.masks[t]


@dataclass
class Place:
    """Where a subject is expected: a prior over a window; far outside of it nothing is."""

    mask: Mask | None
    """None where the place is not known: the window is the whole frame then."""
    window: Window
    prior: Scores


@dataclass(frozen=True)
class Evidence:
    """What the sweeps work on, per frame."""

    codes: Codes
    """[T, h, w]"""
    background: Sequence[Scores]
    """Log density of the background [h, w]."""
    shade: Sequence[Scores]
    """The same of the background in a shadow."""
    motion: Motion


def sweep(subjects: Sequence[Subject], evidence: Evidence, forward: bool) -> None:
    """Label every frame once in the given direction; each subject from its anchor frame on, or wherever a mask is."""
    frames = len(evidence.codes)
    for t in range(frames) if forward else range(frames - 1, -1, -1):
        before = t - 1 if forward else t + 1
        _label(subjects, t, before if 0 <= before < frames else None, evidence)


def _label(subjects: Sequence[Subject], t: int, before: int | None, evidence: Evidence) -> None:
    codes = evidence.codes[t]
    expected = [_expected(s, t, before, evidence.motion) for s in subjects]
    ground = np.maximum(evidence.background[t], np.float32(UNKNOWN))
    shade = evidence.shade[t] - np.float32(SHADE_COST)
    for place in expected:
        if place.mask is not None:
            feet = _feet(place.mask)
            shade[feet] = evidence.shade[t][feet] - np.float32(FEET_COST)
    ground = np.asarray(cv2.GaussianBlur(np.minimum(np.maximum(ground, shade), 14), (0, 0), 0.7))
    best, labels = ground.copy(), np.zeros(codes.shape, dtype=np.uint8)
    places = []
    for k, (s, place) in enumerate(zip(subjects, expected, strict=True)):
        if place.mask is not None and t != s.anchor:
            moved = _follow(place, s.table, codes, ground)
            place = place if moved is None else moved
        places.append(place)
        w = place.window
        score = np.clip(s.table[codes[w]] + place.prior, -8, 14)
        score = np.asarray(cv2.GaussianBlur(score, (0, 0), 0.7))
        wins = score > best[w]
        best[w][wins] = score[wins]
        labels[w][wins] = k + 1
    for k, (s, place) in enumerate(zip(subjects, places, strict=True)):
        if place.mask is not None:
            s.masks[t] = _near(labels, k + 1, place, s.apart)
        elif s.masks[t] is not None or (before is not None and s.masks[before] is not None):
            s.masks[t] = _found(labels == k + 1, s, codes)


def _expected(s: Subject, t: int, before: int | None, motion: Motion) -> Place:
    """Where a subject should be at frame t: at its first mask, else where the neighbour's and its own last one are."""
    shape = s.seed.shape
    if t == s.anchor:
        window, prior = _prior(s.seed)
        x0, y0, x1, y1 = s.box
        mx, my = (x1 - x0) // 8 + 1, (y1 - y0) // 8 + 1
        rows, columns = np.arange(shape[0])[window[0]], np.arange(shape[1])[window[1]]
        prior[(rows < y0 - my) | (rows >= y1 + my)] = FAR
        prior[:, (columns < x0 - mx) | (columns >= x1 + mx)] = FAR
        prior[s.seed[window]] += ANCHORED
        return Place(s.seed, window, prior)
    masks = []
    last = s.masks[before] if before is not None else None
    if before is not None and last is not None and last.any():
        carried = carry(last, motion.to_neighbour(t, before))
        if carried.any():
            masks.append(carried)
    now = s.masks[t]
    if now is not None and now.any():
        masks.append(now)
    if not masks:
        return Place(None, (slice(0, shape[0]), slice(0, shape[1])), np.full(shape, LOST_PRIOR, dtype=np.float32))
    if len(masks) == 1:
        return Place(masks[0], *_prior(masks[0]))
    both = masks[0] | masks[1]
    window = _window(both, _reach(both))
    prior = 0.5 * (_prior(masks[0], window)[1] + _prior(masks[1], window)[1])
    return Place(both, window, prior)


def _feet(mask: Mask) -> Window:
    """Around the lower end of a mask, where its shadow on the floor is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    depth = max(3, int(FEET * max(rows[-1] - rows[0], columns[-1] - columns[0])))
    return (
        slice(max(int(rows[-1]) - depth, 0), int(rows[-1]) + depth + 1),
        slice(max(int(columns[0]) - 2 * depth, 0), int(columns[-1]) + 2 * depth + 1),
    )


def _reach(mask: Mask) -> float:
    """How far in pixels a thing of this size may stray unseen by the flow."""
    return 4.0 + 0.03 * float(np.sqrt(np.count_nonzero(mask)))


def _window(mask: Mask, reach: float) -> Window:
    margin = int(np.ceil((EDGE - FAR) / 2 * reach)) + 2
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:  # nothing was seen at the anchor: any place is as good
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def _prior(mask: Mask, window: Window | None = None) -> tuple[Window, Scores]:
    """From the signed distance to the mask's edge, in steps of its reach."""
    reach = _reach(mask)
    window = window or _window(mask, reach)
    packed = mask[window].astype(np.uint8)
    inner = np.asarray(cv2.distanceTransform(packed, cv2.DIST_L2, 3))
    outer = np.asarray(cv2.distanceTransform(1 - packed, cv2.DIST_L2, 3))
    return window, np.clip(EDGE + 2 / reach * (inner - outer), FAR, INSIDE).astype(np.float32)


def _follow(place: Place, table: NDArray[np.float32], codes: Codes, ground: Scores) -> Place | None:
    """The place shifted to where the colours are, if the flow has plainly lost it; None where it has not."""
    mask = place.mask
    assert mask is not None
    here = float(np.clip(table[codes[mask]] - ground[mask], -3, 3).mean())
    if here > 0.5:
        return None
    gain = np.clip(table[codes] - ground, -3, 3)
    small = np.asarray(cv2.resize(gain, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    shape = np.asarray(cv2.resize(mask.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
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
    h, w = mask.shape
    step = np.array([[1, 0, 2.0 * (dx - x0)], [0, 1, 2.0 * (dy - y0)]])
    moved = np.asarray(cv2.warpAffine(mask.astype(np.uint8), step, (w, h), flags=cv2.INTER_NEAREST)) > 0
    return Place(moved, *_prior(moved)) if moved.any() else None


def _near(labels: NDArray[np.uint8], k: int, place: Place, apart: float) -> Mask:
    """The pixels labelled k, without specks, parts away from the expected mask, and parts away from the biggest one.

    apart: the widest gap in pixels that something in front may leave.
    """
    result = np.zeros(labels.shape, dtype=bool)
    mine = (labels[place.window] == k).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mine, connectivity=8)
    if count == 1:
        return result
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(3, 0.01 * areas.max())
    touching = np.zeros(count, dtype=bool)
    touching[np.unique(parts[place.prior > NEAR])] = True
    keep &= touching
    keep[0] = False
    if keep.sum() > 1:
        main = int(np.where(keep, areas, 0).argmax())
        gap = np.asarray(cv2.distanceTransform((parts != main).astype(np.uint8), cv2.DIST_L2, 3))
        for part in np.flatnonzero(keep):
            if part != main and gap[parts == part].min() > apart:
                keep[part] = False
    result[place.window] = keep[parts]
    return result


def _found(mine: Mask, s: Subject, codes: Codes) -> Mask:
    """The part that looks like a lost subject come back; empty where none does."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mine.astype(np.uint8), connectivity=8)
    least = max(10.0, MIN_BACK * float(s.seed.sum()))
    best, worth = 0, 0.0
    for k in range(1, count):
        area = float(stats[k, cv2.CC_STAT_AREA])
        if area >= least:
            like = appearance.alike(appearance.mix(codes[parts == k]), s.mix)
            if like >= MIN_ALIKE and area * like > worth:
                best, worth = k, area * like
    return np.asarray(parts == best) if best else np.zeros_like(mine)


def doubt(s: Subject, codes: NDArray[np.uint16]) -> None:
    """Empty the masks whose mix of colours is not the subject's: they lie on something else. codes: [T, h, w]."""
    for t, mask in enumerate(s.masks):
        if t == s.anchor or mask is None or not mask.any():
            continue
        if appearance.alike(appearance.mix(codes[t][mask]), s.mix) < MIN_KEPT:
            s.masks[t] = np.zeros_like(mask)
