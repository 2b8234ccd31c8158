"""`Tracker` without weights: a background plate, colour models and optical flow, all frames at hand.

It does well on things that differ in colour from the background and from each other, before a background that moves as
one. It cannot follow a thing that turns to a side of other colours, tell apart two that look alike and cross, or see
through strong blur and shake; SAM2 can (`Tracker` of another file).
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import Anchor, Track
from tasks.engines.base import Frames
from tasks.engines.embedded import appearance, boundary, flow, plate, seeds
from tasks.engines.embedded.labelling import Subject, sweep
from tasks.engines.embedded.plate import Plate
from tasks.media import encode_mask

WORKING_SIDE = 360
"""The longer side is brought down to about this many pixels, by a whole factor."""
SHADE_COST = 2.5
"""Log odds against a background pixel lying in a shadow."""


class EmbeddedTracker:
    """Offline tracker for one clip at a time; deterministic, single-threaded, about 3 s for 49 frames of 480×720."""

    identity = "embedded-tracker/1"

    def propagate(self, frames: Frames, anchors: Sequence[Anchor]) -> list[Track]:
        """One track per anchor, in their order. frames: RGB uint8 [T, H, W, 3]; masks at [H, W], pixels never shared."""
        cv2.setNumThreads(1)  # DIS cuts its work by threads, and its result depends on the cut
        height, width = frames.shape[1:3]
        factor = max(1, round(max(height, width) / WORKING_SIDE))
        size = (height // factor, width // factor)
        lab = appearance.to_lab(frames, size)
        greys = np.ascontiguousarray(lab[..., 0])
        motion = flow.measure(greys)
        reference = len(frames) // 2
        maps = flow.to_reference(motion, reference, len(frames))
        first = plate.build(lab, maps)
        maps = flow.refine(greys, first.lab[..., 0].astype(np.uint8), maps)
        first = plate.build(lab, maps)
        codes = appearance.codes(lab)

        boxes = [_box(a, factor, size) for a in anchors]
        table = appearance.log_density(_surroundings(codes, anchors, boxes))
        subjects = [
            Subject(anchor.frame, box, mask, [None] * len(frames))
            for anchor, box, mask in zip(anchors, boxes, first_masks(frames, anchors, size, first, maps), strict=True)
        ]
        for s in subjects:
            s.learn(_own_colours(s, [s.anchor], codes, subjects))
        covered = _covered(first, subjects, table, lab, maps)
        taken = np.zeros(codes.shape, dtype=bool)
        for t, mask in ((s.anchor, s.seed) for s in subjects):
            taken[t] |= mask
        current = Plate(first.lab, first.spread, np.where(covered, np.float32(0), first.known))
        for last in (False, True):
            background = [_background(current, maps[t], lab[t], table[codes[t]]) for t in range(len(frames))]
            sweep(subjects, codes, background, motion, forward=True)
            sweep(subjects, codes, background, motion, forward=False)
            taken = np.stack([_taken(subjects, t, size) for t in range(len(frames))])
            current = plate.uncover(first, covered, lab, maps, taken)
            if not last:
                for s in subjects:
                    s.learn(0.5 * _own_colours(s, [s.anchor], codes, subjects) + 0.5 * _own_colours(s, range(len(frames)), codes, subjects))
        return self._finish(frames, subjects, current, maps, anchors)

    @staticmethod
    def _finish(
        frames: Frames, subjects: Sequence[Subject], background: Plate, maps: list[flow.Affine], anchors: Sequence[Anchor]
    ) -> list[Track]:
        height, width = frames.shape[1:3]
        rles: list[list[str | None]] = [[] for _ in subjects]
        for t, frame in enumerate(frames):
            seen, _, known = background.seen_from(maps[t])
            lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
            full = np.asarray(cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR))
            sure = np.asarray(cv2.resize(known.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)) > 0
            given = [m if (m := s.masks[t]) is not None else np.zeros_like(s.seed) for s in subjects]
            for k, mask in enumerate(boundary.refine(np.asarray(lab), given, full, sure)):
                rles[k].append(encode_mask(mask))
        return [Track(id=a.id, masks=tuple(r)) for a, r in zip(anchors, rles, strict=True)]


def _box(anchor: Anchor, factor: int, size: tuple[int, int]) -> seeds.Region:
    h, w = size
    b = anchor.box
    x0, y0 = min(max(int(b.x0 / factor), 0), w - 2), min(max(int(b.y0 / factor), 0), h - 2)
    return x0, y0, min(max(round(b.x1 / factor), x0 + 2), w), min(max(round(b.y1 / factor), y0 + 2), h)


def first_masks(
    frames: Frames, anchors: Sequence[Anchor], size: tuple[int, int], first: Plate, maps: list[flow.Affine]
) -> list[NDArray[np.bool_]]:
    """The mask of each ID at its anchor frame, cut at full size, at working size [h, w]."""
    height, width = frames.shape[1:3]
    boxes = [_box(a, 1, (height, width)) for a in anchors]
    masks = []
    for anchor, box in zip(anchors, boxes, strict=True):
        t = anchor.frame
        others = [b for a, b in zip(anchors, boxes, strict=True) if a.frame == t and a is not anchor]
        seen, spread, _ = (np.asarray(cv2.resize(x.astype(np.float32), (width, height))) for x in first.seen_from(maps[t]))
        lab = np.asarray(cv2.cvtColor(frames[t], cv2.COLOR_RGB2LAB), dtype=np.uint8)
        mask = seeds.cut(lab, seen, spread, box, others)
        masks.append(np.asarray(cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)) > 0.5)
    return masks


def _surroundings(codes: appearance.Codes, anchors: Sequence[Anchor], boxes: Sequence[seeds.Region]) -> NDArray[np.float32]:
    """Colours of the anchor frames outside all of their boxes."""
    total = np.zeros(appearance.BINS, dtype=np.float32)
    for t in sorted({a.frame for a in anchors}):
        free = np.ones(codes.shape[1:], dtype=bool)
        for a, (x0, y0, x1, y1) in zip(anchors, boxes, strict=True):
            if a.frame == t:
                free[y0:y1, x0:x1] = False
        if free.any():
            total += appearance.histogram(codes[t][free])
    return total / max(float(total.sum()), 1e-6)


def _background(
    background: Plate, m: flow.Affine, lab: NDArray[np.uint8], generic: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Log density of the background at each pixel of a frame, relative to uniform."""
    seen, spread, known = background.seen_from(m)
    off = (((lab.astype(np.float32) - seen) / spread) ** 2).sum(-1)
    norm = 3 * np.log(256) - 1.5 * np.log(2 * np.pi) - np.log(spread).sum(-1)
    fresh = norm - 0.5 * off
    # A shadow darkens and keeps the tint.
    light = lab[..., 0] / np.maximum(seen[..., 0], 1)
    tint = (((lab[..., 1:].astype(np.float32) - seen[..., 1:]) / (1.3 * spread[..., 1:])) ** 2).sum(-1)
    dark = 3 * np.log(256) - np.log(2 * np.pi) - np.log(1.3 * spread[..., 1:]).sum(-1) - np.log(0.45 * seen[..., 0] + 1)
    shade = np.where((light > 0.55) & (light < 1), dark - 0.5 * tint - SHADE_COST, -np.inf)
    best = np.maximum(np.maximum(fresh, shade), generic - 4)
    return np.asarray(np.where(known, best, generic), dtype=np.float32)


def _covered(
    first: Plate,
    subjects: Sequence[Subject],
    table: NDArray[np.float32],
    lab: NDArray[np.uint8],
    maps: list[flow.Affine],
) -> NDArray[np.bool_]:
    """Where the plate shows a subject that stands still.

    That is where a subject's colours explain it better than the surroundings' (`table`), and where it looks like the
    anchor frame inside the subject's first mask.
    """
    plain = appearance.codes(first.lab.astype(np.uint8))
    best = np.maximum.reduce([s.table[plain] for s in subjects])
    covered = (best > table[plain] + 1).astype(np.uint8)
    covered = np.asarray(cv2.morphologyEx(covered, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    h, w = plain.shape
    for s in subjects:
        seen, spread, _ = first.seen_from(maps[s.anchor])
        same = (((lab[s.anchor].astype(np.float32) - seen) / spread) ** 2).sum(-1) < 9
        still = np.asarray(cv2.medianBlur((same & s.seed).astype(np.uint8), 5))
        covered |= np.asarray(cv2.warpAffine(still, maps[s.anchor], (w, h), flags=cv2.INTER_NEAREST), dtype=np.uint8)
    return np.asarray(cv2.dilate(covered, np.ones((5, 5), np.uint8))) > 0


def _taken(subjects: Sequence[Subject], t: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    union = np.zeros(size, dtype=np.uint8)
    for s in subjects:
        mask = s.masks[t]
        if mask is not None:
            union |= mask.astype(np.uint8)
    return np.asarray(cv2.dilate(union, np.ones((7, 7), np.uint8))) > 0


def _own_colours(
    s: Subject, frames: Iterable[int], codes: appearance.Codes, subjects: Sequence[Subject]
) -> NDArray[np.float32]:
    """Histogram of the subject's masks in the given frames, less the colours commoner around it."""
    inside, around = [], []
    for t in frames:
        mask = s.at(t)
        if mask is None or not mask.any():
            continue
        near = np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((13, 13), np.uint8))) > 0
        for other in subjects:
            if (theirs := other.at(t)) is not None:
                near &= ~theirs
        inside.append(codes[t][mask])
        around.append(codes[t][near & ~mask])
    if not inside:
        return s.shares
    return appearance.own(appearance.histogram(np.concatenate(inside)), appearance.histogram(np.concatenate(around)))
