"""The numbers that curate judges tracks by (`TrackNumbers`), from masks alone: areas, boxes, gaps, overlaps."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from schemas import Anchor, Track, TrackNumbers
from tasks.media.clips import decode_mask

SUSTAINED = 5
"""Visible frames in a row whose median must be bad before growth or unlikeness counts: one odd frame is no drift."""

LASTING = 8
"""Visible frames on each side whose medians must differ before a step of the area counts; of fewer, at least three."""

SAMPLED = 16
"""Masks decoded to judge fragmentation, evenly spaced over the visible frames."""

MIN_GROWTH_BASE = 0.25
"""Share of the anchor's area from which a mask counts as fully seen; below, it is half hidden, entering or leaving."""


def measure(track: Track, anchor: Anchor, size: tuple[int, int], same_class_iou: float) -> TrackNumbers:
    """The numbers of one track on frames of `size` (height, width). A track without masks has the worst of each."""
    height, width = size
    visible = np.array([m is not None for m in track.masks])
    if not visible.any():
        return TrackNumbers(
            id=track.id, visible_share=0, longest_gap=0, area_jump=0, fragments=1, anchor_iou=0, side=0,
            same_class_iou=0, growth=0, area_step=0, leap=0, likeness=0, least_likeness=0,
        )  # fmt: skip
    seen = np.flatnonzero(visible)
    rles = [{"size": [height, width], "counts": track.masks[t]} for t in seen]
    areas = np.asarray(coco.area(rles), dtype=np.float64)
    boxes = np.asarray(coco.toBbox(rles), dtype=np.float64)
    at_anchor = int(np.argmin(np.abs(seen - anchor.frame)))
    base = areas[at_anchor]
    pairs = _whole_pairs(seen, areas, boxes, base, size)
    # Where the stage before left no likeness on record, nothing speaks against the track.
    likeness = np.array([v for v in track.likeness if v is not None] or [1.0])
    return TrackNumbers(
        id=track.id,
        visible_share=float(visible.mean()),
        longest_gap=int(max(np.diff(seen) - 1, default=0)),
        area_jump=float(np.abs(np.diff(np.log2(areas)))[pairs].max(initial=0.0)),
        fragments=_fragments(track, seen, boxes, size),
        anchor_iou=_anchor_iou(boxes[at_anchor], anchor) if seen[at_anchor] == anchor.frame else 0.0,
        side=float(np.median(np.sqrt(areas)) / min(size)),
        same_class_iou=same_class_iou,
        growth=max(0.0, float(np.log2(_running_median(areas).max() / base))),
        area_step=max((_lasting(np.log2(areas), i) for i in np.flatnonzero(pairs).tolist()), default=0.0),
        leap=_leap(seen, areas, boxes),
        likeness=float(_running_median(likeness).min()),
        least_likeness=float(likeness.min()),
    )


def _whole_pairs(
    seen: NDArray[np.int64], areas: NDArray[np.float64], boxes: NDArray[np.float64], base: float, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Per visible frame but the last: it and the next follow on each other, and both show the thing whole.

    Whole is a mask that the image border does not cut and that is not much smaller than at the anchor.
    """
    height, width = size
    x, y, w, h = boxes.T
    inside = (x > 0) & (y > 0) & (x + w < width) & (y + h < height)
    whole = inside & (areas >= MIN_GROWTH_BASE * base)
    pairs: NDArray[np.bool_] = (np.diff(seen) == 1) & whole[1:] & whole[:-1]
    return pairs


def _lasting(logs: NDArray[np.float64], i: int) -> float:
    """How much of the change of log2(area) from visible frame i to the next stays; 0 near the ends of the track."""
    before, after = logs[max(0, i + 1 - LASTING) : i + 1], logs[i + 1 : i + 1 + LASTING]
    if min(len(before), len(after)) < 3:
        return 0.0
    once, stays = logs[i + 1] - logs[i], np.median(after) - np.median(before)
    return float(min(abs(once), abs(stays))) if once * stays > 0 else 0.0


def _leap(seen: NDArray[np.int64], areas: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """Widest gap between the boxes of two successive masks, per frame from one to the other, in sides of the thing.

    No more than the velocity differs there from the one just before and from the one just after: what flies fast leaps
    at every frame, a mask that goes over to another thing does once, or there and back.
    """
    frames = np.diff(seen)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    gaps = np.linalg.norm(np.maximum(low[1:] - high[:-1], low[:-1] - high[1:]).clip(0), axis=1) / frames
    velocities = np.diff((low + high) / 2, axis=0) / frames[:, None]
    changes = np.linalg.norm(np.diff(velocities, axis=0), axis=1)
    if changes.size:
        gaps[1:], gaps[:-1] = np.minimum(gaps[1:], changes), np.minimum(gaps[:-1], changes)
    return float(gaps.max(initial=0.0) / np.sqrt(np.median(areas)))


def _fragments(track: Track, seen: NDArray[np.int64], boxes: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Median share of the mask outside its biggest 8-connected part, over at most `SAMPLED` visible frames."""
    shares = []
    for k in np.unique(np.linspace(0, len(seen) - 1, SAMPLED).round().astype(int)):
        x, y, w, h = boxes[k].astype(int)
        part = decode_mask(track.masks[seen[k]], *size)[y : y + h, x : x + w].astype(np.uint8)
        areas = cv2.connectedComponentsWithStats(part, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
        shares.append(1 - areas.max() / areas.sum())
    return float(np.median(shares))


def _anchor_iou(box: NDArray[np.float64], anchor: Anchor) -> float:
    """IoU of a mask's `xywh` box with the anchor box."""
    b = anchor.box
    return float(coco.iou([box.tolist()], [[b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0]], [0])[0, 0])


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of `SUSTAINED` neighbours; of all values where there are fewer."""
    window = min(SUSTAINED, len(values))
    medians: NDArray[np.float64] = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    return medians


def overlaps_within_classes(
    tracks: Sequence[Track], classes: Mapping[str, str], size: tuple[int, int]
) -> dict[tuple[str, str], float]:
    """Mean IoU of each pair of tracks of one class, over the frames in which the rarer one shows."""
    result = {}
    for a, b in combinations(tracks, 2):
        fewest = min(sum(m is not None for m in t.masks) for t in (a, b))
        if classes[a.id] != classes[b.id] or fewest == 0:
            continue
        total = 0.0
        for ours, theirs in zip(a.masks, b.masks, strict=True):
            if ours is not None and theirs is not None:
                one, other = ({"size": list(size), "counts": m.encode("ascii")} for m in (ours, theirs))
                total += float(coco.iou([one], [other], [0])[0, 0])
        result[a.id, b.id] = min(1.0, total / fewest)
    return result


def worst_overlap(shared: Mapping[tuple[str, str], float], who: str) -> float:
    return max((iou for pair, iou in shared.items() if who in pair), default=0.0)


def quality(n: TrackNumbers) -> float:
    """To tell the worse of two tracks that cover one thing: the one that has left its anchor."""
    return n.anchor_iou * n.likeness * n.visible_share
