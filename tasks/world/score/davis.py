"""Region and boundary agreement of two masks: J, F and J&F as DAVIS defines them and SA-V reports them.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, section 5.
Both measures are per frame and in [0, 1]. A frame that is empty in both masks counts 1, empty in one of them 0.
"""

import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

TOLERANCE = 0.008
"""DAVIS's: two boundary pixels match within this share of the image diagonal, rounded up to whole pixels."""


def region_iou(pred: Mask, true: Mask) -> float:
    """J: intersection over union of two masks [H, W]. Both empty: 1. Raises ValueError when the sizes differ."""
    _same_size(pred, true)
    both = int(np.count_nonzero(pred & true))
    union = int(np.count_nonzero(pred)) + int(np.count_nonzero(true)) - both
    return both / union if union else 1.0


def boundary_f(pred: Mask, true: Mask, tolerance: float = TOLERANCE) -> float:
    """F: harmonic mean of boundary precision and recall of two masks [H, W].

    Precision is the share of the predicted boundary within reach of the true one, recall the reverse; the reach is a
    disk of radius `ceil(tolerance * diagonal)` pixels. A boundary pixel is one whose right, lower or lower right
    neighbour has another value; the image's edge is no boundary. Two masks without a boundary (both empty, or both
    full) agree: 1. Raises ValueError when the sizes differ.
    """
    _same_size(pred, true)
    radius = math.ceil(tolerance * math.hypot(*pred.shape))
    window = _window(pred | true, radius + 1)
    ours, theirs = _boundary(pred[window]), _boundary(true[window])
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = float(np.count_nonzero(ours & _near(theirs, radius)) / np.count_nonzero(ours))
    recall = float(np.count_nonzero(theirs & _near(ours, radius)) / np.count_nonzero(theirs))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def j_and_f(pred: Mask, true: Mask) -> float:
    """J&F: the mean of `region_iou` and `boundary_f` at DAVIS's tolerance."""
    return (region_iou(pred, true) + boundary_f(pred, true)) / 2


def _same_size(pred: Mask, true: Mask) -> None:
    if pred.shape != true.shape or pred.ndim != 2:
        raise ValueError(f"masks of one size [H, W] are needed, got {pred.shape} and {true.shape}")


def _boundary(mask: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour; the image continues as its last pixels."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def _near(edge: Mask, radius: int) -> Mask:
    """`edge` dilated by a disk."""
    return np.asarray(cv2.dilate(edge.view(np.uint8), _disk(radius)), dtype=bool)


@cache
def _disk(radius: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x**2 + y**2 <= radius**2, dtype=np.uint8)


def _window(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The smallest part of the image that holds the mask and a margin: all else is far from any boundary."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )
