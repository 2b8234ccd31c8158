"""`Tracker` without weights: a background plate, colour models and optical flow, all frames at hand.

It does well on things that differ in colour from the background and from each other, before a background that moves as
one. It cannot follow a thing that turns to a side of other colours, tell apart two that look alike and cross, or see
through strong blur and shake; SAM2 can (`Tracker` of another file).
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import Anchor, Rle, Track
from tasks.engines.anchors import boxes_within
from tasks.engines.base import Frames
from tasks.engines.embedded import appearance, boundary, flow, plate, seeds
from tasks.engines.embedded.labelling import Evidence, Subject, doubt, sweep
from tasks.engines.embedded.options import TrackerOptions, Weightless
from tasks.engines.embedded.plate import Plate
from tasks.media.clips import encode_mask

WORKING_SIDE = 360
"""The longer side is brought down to about this many pixels, by a whole factor."""
STANDS_OUT = 3.0
"""Log density of the background below which a pixel is something else."""
MIN_CONSTANT = 0.1
"""Share of the box that must stand out all the time for its colours to be taken up."""
SHADOWED = 0.25
"""The lower end of a mask, as a share of its longer side, where a shadow on the floor may have been taken for it."""
LYING = 0.8
"""From this ratio of width to height on a thing stands over its shadow; what is narrower ends in legs and feet."""
MOSTLY = 0.3
"""A place that a subject covers in more than this share of the frames may be wrong on the plate."""


class EmbeddedTracker(Weightless):
    """Offline tracker for one clip at a time; deterministic, single-threaded, about 3 s for 49 frames of 480×720."""

    Options = TrackerOptions
    identity = TrackerOptions().declared()

    def propagate(self, frames: Frames, anchors: Sequence[Anchor]) -> list[Track]:
        """One track per anchor, in their order. frames: RGB uint8 [T, H, W, 3]; masks [H, W] share no pixel.

        An anchor's box is cut to the frame; one wholly outside of it has an empty track. ValueError when an anchor's
        frame is not in the clip.
        """
        there = [k for k, box in enumerate(boxes_within(frames, anchors)) if box is not None]
        masks = self._follow(frames, [anchors[k] for k in there]) if there else []
        found = dict(zip(there, masks, strict=True))
        return [Track(id=a.id, masks=tuple(found.get(k, [None] * len(frames)))) for k, a in enumerate(anchors)]

    def _follow(self, frames: Frames, anchors: Sequence[Anchor]) -> list[list[Rle | None]]:
        """Masks by anchor and frame, all anchors with something of their box in the frame."""
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
        around = _surroundings(codes, anchors, boxes)
        table, dim = appearance.log_density(around), appearance.log_density(appearance.shaded(around))
        subjects = [
            Subject(anchor.frame, box, mask, [None] * len(frames))
            for anchor, box, mask in zip(anchors, boxes, first_masks(frames, anchors, size, first, maps), strict=True)
        ]
        for s in subjects:
            s.seed = without_shadow(s.seed, codes[s.anchor], _free(anchors, boxes, s.anchor, size))
            s.learn(appearance.own(appearance.histogram(codes[s.anchor][s.seed]), around))
            s.mix = appearance.mix(codes[s.anchor][s.seed])
        covered = _covered(first, subjects, table, lab, maps)
        current = Plate(first.lab, first.spread, np.where(covered, np.float32(0), first.known))
        for last in (False, True):
            explained = [current.explain(m, x, table[c], dim[c]) for m, x, c in zip(maps, lab, codes, strict=True)]
            evidence = Evidence(codes, [e[0] for e in explained], [e[1] for e in explained], motion)
            if last:
                for s, shares in [(s, _relearn(s, subjects, evidence)) for s in subjects]:
                    s.learn(shares)
            sweep(subjects, evidence, forward=True)
            sweep(subjects, evidence, forward=False)
            for s in subjects:
                doubt(s, codes)
            taken = np.stack([_taken(subjects, t) for t in range(len(frames))])
            covered |= plate.share(taken, maps) > MOSTLY
            current = plate.uncover(first, covered, lab, maps, taken)
        return self._finish(frames, subjects, current, maps)

    @staticmethod
    def _finish(
        frames: Frames,
        subjects: Sequence[Subject],
        background: Plate,
        maps: list[flow.Affine],
    ) -> list[list[Rle | None]]:
        height, width = frames.shape[1:3]
        rles: list[list[Rle | None]] = [[] for _ in subjects]
        for t, frame in enumerate(frames):
            seen, _, known = background.seen_from(maps[t])
            lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
            full = np.asarray(cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR))
            sure = np.asarray(cv2.resize(known.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)) > 0
            given = [m if (m := s.masks[t]) is not None else np.zeros_like(s.seed) for s in subjects]
            for k, mask in enumerate(boundary.refine(np.asarray(lab), given, full, sure)):
                rles[k].append(encode_mask(mask))
        return rles


def _box(anchor: Anchor, factor: int, size: tuple[int, int]) -> seeds.Region:
    h, w = size
    b = anchor.box
    x0, y0 = min(max(int(b.x0 / factor), 0), w - 2), min(max(int(b.y0 / factor), 0), h - 2)
    return x0, y0, min(max(round(b.x1 / factor), x0 + 2), w), min(max(round(b.y1 / factor), y0 + 2), h)


def first_masks(
    frames: Frames, anchors: Sequence[Anchor], size: tuple[int, int], first: Plate, maps: list[flow.Affine]
) -> list[NDArray[np.bool_]]:
    """The mask of each ID at its anchor frame, cut at full size, at working size [h, w]. Never empty."""
    height, width = frames.shape[1:3]
    boxes = [_box(a, 1, (height, width)) for a in anchors]
    masks = []
    for anchor, box in zip(anchors, boxes, strict=True):
        t = anchor.frame
        others = [b for a, b in zip(anchors, boxes, strict=True) if a.frame == t and a is not anchor]
        seen, spread, _ = (
            np.asarray(cv2.resize(x.astype(np.float32), (width, height))) for x in first.seen_from(maps[t])
        )
        lab = np.asarray(cv2.cvtColor(frames[t], cv2.COLOR_RGB2LAB), dtype=np.uint8)
        full = seeds.cut(lab, seen, spread, box, others).astype(np.float32)
        mask = np.asarray(cv2.resize(full, size[::-1], interpolation=cv2.INTER_AREA)) > 0.5
        if not mask.any():
            # Nothing stands out, or the box is a few pixels: all of it, then.
            x0, y0, x1, y1 = _box(anchor, height // size[0], size)
            mask[y0:y1, x0:x1] = True
        masks.append(mask)
    return masks


def without_shadow(mask: NDArray[np.bool_], codes: appearance.Codes, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask [h, w] less the shadow at its lower end: what is rather the floor there in a shadow than the thing.

    codes: of the frame [h, w]; free: outside of all boxes. What the thing is like is read off the rest of the mask, so
    that dark legs and grey trousers stay.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    high, wide = int(rows[-1] + 1 - rows[0]), int(columns[-1] + 1 - columns[0])
    if wide < LYING * high:
        return mask
    depth = int(SHADOWED * max(high, wide))
    end = max(int(rows[-1]) + 1 - depth, 0)
    beside = np.zeros_like(mask)
    beside[end : rows[-1] + 1 + depth, max(columns[0] - 2 * depth, 0) : columns[-1] + 1 + 2 * depth] = True
    floor, above = codes[beside & free], codes[:end][mask[:end]]
    if 2 * len(above) < np.count_nonzero(mask) or not len(floor):
        return mask
    own = appearance.log_density(appearance.histogram(above))
    dim = appearance.log_density(appearance.shaded(appearance.histogram(floor)))
    solid = mask.copy()
    solid[end:] &= own[codes[end:]] > dim[codes[end:]]
    return solid


def _free(anchors: Sequence[Anchor], boxes: Sequence[seeds.Region], t: int, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Outside of all boxes of frame t [h, w]."""
    free = np.ones(size, dtype=bool)
    for a, (x0, y0, x1, y1) in zip(anchors, boxes, strict=True):
        if a.frame == t:
            free[y0:y1, x0:x1] = False
    return free


def _surroundings(
    codes: appearance.Codes, anchors: Sequence[Anchor], boxes: Sequence[seeds.Region]
) -> NDArray[np.float32]:
    """Colours of the anchor frames outside all of their boxes."""
    total = np.zeros(appearance.BINS, dtype=np.float32)
    for t in sorted({a.frame for a in anchors}):
        free = _free(anchors, boxes, t, codes[t].shape)
        if free.any():
            total += appearance.histogram(codes[t][free])
    return total / max(float(total.sum()), 1e-6)


def _covered(
    first: Plate,
    subjects: Sequence[Subject],
    table: NDArray[np.float32],
    lab: NDArray[np.uint8],
    maps: list[flow.Affine],
) -> NDArray[np.bool_]:
    """Where the plate shows a subject that stands still.

    That is where it looks like the anchor frame inside the subject's first mask, and where a patch of some size has the
    subject's mix of colours and not the surroundings' (`table`).
    """
    plain = appearance.codes(first.lab.astype(np.uint8))
    h, w = plain.shape
    covered = np.zeros((h, w), dtype=np.uint8)
    for s in subjects:
        seen, spread, _ = first.seen_from(maps[s.anchor])
        same = (((lab[s.anchor].astype(np.float32) - seen) / spread) ** 2).sum(-1) < 12
        still = np.asarray(cv2.medianBlur((same & s.seed).astype(np.uint8), 5))
        covered |= np.asarray(cv2.warpAffine(still, maps[s.anchor], (w, h), flags=cv2.INTER_NEAREST), dtype=np.uint8)
        like = (s.table[plain] > table[plain] + 1).astype(np.uint8)
        like = np.asarray(cv2.morphologyEx(like, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
        count, parts, stats, _ = cv2.connectedComponentsWithStats(like, connectivity=8)
        for k in range(1, count):
            if stats[k, cv2.CC_STAT_AREA] >= 0.2 * s.seed.sum():
                part = parts == k
                if appearance.alike(appearance.histogram(plain[part]), s.shares) > 0.6:
                    covered[part] = 1
    return np.asarray(cv2.dilate(covered, np.ones((5, 5), np.uint8))) > 0


def _taken(subjects: Sequence[Subject], t: int) -> NDArray[np.bool_]:
    """Pixels of frame t that belong to a subject, with what its first mask would cover if it stood where it is now."""
    union = np.zeros(subjects[0].seed.shape, dtype=np.uint8)
    for s in subjects:
        mask = s.masks[t]
        if mask is not None and mask.any():
            union |= mask.astype(np.uint8)
            dx, dy = _offset(s.seed, mask)
            step = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float64)
            h, w = mask.shape
            union |= np.asarray(cv2.warpAffine(s.seed.astype(np.uint8), step, (w, h), flags=cv2.INTER_NEAREST))
    return np.asarray(cv2.dilate(union, np.ones((5, 5), np.uint8))) > 0


def _offset(seed: NDArray[np.bool_], mask: NDArray[np.bool_]) -> tuple[int, int]:
    """The shift (dx, dy) that lays the seed over the mask with the most overlap, to four pixels."""
    small, shape = (
        np.asarray(cv2.resize(m.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))
        for m in (mask, seed)
    )
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    y0, x0 = int(rows[0]), int(columns[0])
    template = shape[y0 : rows[-1] + 1, x0 : columns[-1] + 1]
    th, tw = template.shape
    room = cv2.copyMakeBorder(small, th, th, tw, tw, cv2.BORDER_CONSTANT, value=0)
    match = np.asarray(cv2.matchTemplate(room, template, cv2.TM_CCORR))
    dy, dx = np.unravel_index(int(match.argmax()), match.shape)
    return 4 * (int(dx) - tw - x0), 4 * (int(dy) - th - y0)


def _relearn(s: Subject, subjects: Sequence[Subject], evidence: Evidence) -> NDArray[np.float32]:
    """The colour model after a first labelling: of the anchor frame, of all masks, and of what always goes along."""
    at_anchor, all_along = (_own_colours(s, ts, evidence.codes, subjects) for ts in ([s.anchor], range(len(s.masks))))
    constant, share = _constant_colours(s, subjects, evidence)
    if share < MIN_CONSTANT:
        return 0.5 * at_anchor + 0.5 * all_along
    return np.asarray(0.35 * at_anchor + 0.3 * all_along + 0.35 * constant, dtype=np.float32)


def _constant_colours(s: Subject, subjects: Sequence[Subject], evidence: Evidence) -> tuple[NDArray[np.float32], float]:
    """Colours that stand out from the background within the subject's box in most frames, and their share of the box.

    The box goes with the mask. What belongs to the subject is there all the time; passers-by are not.
    """
    h, w = s.seed.shape
    x0, y0, x1, y1 = s.box
    found = []
    for t in range(0, len(s.masks), 3):
        mask = s.masks[t]
        if mask is None or not mask.any():
            continue
        dx, dy = _offset(s.seed, mask)
        window = (slice(max(y0 + dy, 0), max(min(y1 + dy, h), 0)), slice(max(x0 + dx, 0), max(min(x1 + dx, w), 0)))
        strange = evidence.background[t][window] < STANDS_OUT
        for other in subjects:
            if other is not s and (theirs := other.masks[t]) is not None:
                strange = strange & ~theirs[window]
        if strange.size < 0.7 * (x1 - x0) * (y1 - y0):
            continue
        found.append(appearance.histogram(evidence.codes[t][window][strange]) * np.float32(strange.mean()))
    if len(found) < 4:
        return np.zeros_like(s.shares), 0.0
    usual = np.partition(np.stack(found), len(found) // 3, axis=0)[len(found) // 3]
    share = float(usual.sum())
    return usual / max(share, 1e-6), share


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
