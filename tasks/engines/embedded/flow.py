"""Dense optical flow between neighbouring frames, and the camera's motion read off it.

Everything here is at the tracker's working size. A flow field is float32 [h, w, 2], (dx, dy) in pixels.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.float32]
Affine = NDArray[np.float64]
"""2×3, acting on pixel coordinates (x, y, 1)."""

LEAST_SIDE = 48
"""Smaller frames are filled up to it: OpenCV's search ends the process with a fault on flat, wide ones below 32."""

GRID = 8
"""The camera's motion is fitted to the flow at every eighth pixel."""


@dataclass(frozen=True)
class Motion:
    """Flow of a clip both ways. `ahead[t]` maps pixels of frame t to frame t+1, `back[t]` those of t+1 to t."""

    ahead: list[Flow]
    back: list[Flow]

    def to_neighbour(self, frame: int, neighbour: int) -> Flow:
        """Where the pixels of `frame` are found in the frame before or after it."""
        return self.ahead[frame] if neighbour == frame + 1 else self.back[neighbour]


def _dense_flow() -> Any:
    """OpenCV's dense inverse search; its stubs do not know it."""
    return getattr(cv2, "DISOpticalFlow_create")(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # noqa: B009


def measure(greys: NDArray[np.uint8]) -> Motion:
    """Flow between all neighbours of greys [T, h, w]."""
    dis = _dense_flow()
    pairs = list(itertools.pairwise(greys))
    return Motion([_flow(dis, a, b) for a, b in pairs], [_flow(dis, b, a) for a, b in pairs])


def _flow(dis: cv2.DISOpticalFlow, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Flow:
    h, w = a.shape
    if min(h, w) < LEAST_SIDE:
        below, beside = max(LEAST_SIDE - h, 0), max(LEAST_SIDE - w, 0)
        a, b = (np.asarray(cv2.copyMakeBorder(x, 0, below, 0, beside, cv2.BORDER_REPLICATE)) for x in (a, b))
    return np.asarray(dis.calc(a, b, None)[:h, :w], dtype=np.float32)


def to_reference(motion: Motion, reference: int, frames: int) -> list[Affine]:
    """Per frame the affine map from its pixels to those of the reference frame, chained along the clip."""
    steps = [fit_affine(flow) for flow in motion.ahead]
    maps: list[Affine] = [np.eye(2, 3)] * frames
    for t in range(reference + 1, frames):
        maps[t] = compose(maps[t - 1], invert(steps[t - 1]))
    for t in range(reference - 1, -1, -1):
        maps[t] = compose(maps[t + 1], steps[t])
    return maps


def refine(greys: NDArray[np.uint8], plate: NDArray[np.uint8], maps: list[Affine]) -> list[Affine]:
    """The maps corrected by the flow from the background plate (grey [h, w]) to each frame as mapped so far."""
    dis = _dense_flow()
    h, w = plate.shape
    better = []
    for grey, m in zip(greys, maps, strict=True):
        mapped = cv2.warpAffine(grey, m, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        better.append(compose(invert(fit_affine(_flow(dis, plate, np.asarray(mapped, dtype=np.uint8)))), m))
    return better


def fit_affine(flow: Flow) -> Affine:
    """The affine motion that most of the picture follows: Cauchy-weighted least squares, from the median shift on."""
    h, w = flow.shape[:2]
    ys, xs = np.mgrid[GRID // 2 : h : GRID, GRID // 2 : w : GRID]
    shift = flow[ys, xs].reshape(-1, 2).astype(np.float64)
    points = np.stack([xs.ravel() - w / 2, ys.ravel() - h / 2, np.full(xs.size, w / 2)], axis=1) / (w / 2)
    model = np.zeros((3, 2))
    model[2] = np.median(shift, axis=0)
    for scale in (4.0, 2.0, 1.0, 0.5, 0.5, 0.25, 0.25):
        weight = 1 / (1 + (((shift - points @ model) / scale) ** 2).sum(1))
        weighted = points * weight[:, None]
        model = np.linalg.solve(weighted.T @ points + 1e-3 * np.diag([1.0, 1.0, 0.0]), weighted.T @ shift)
    linear = model[:2].T / (w / 2)
    constant = model[2] - linear @ np.array([w / 2, h / 2])
    return np.concatenate([np.eye(2) + linear, constant[:, None]], axis=1)


def compose(outer: Affine, inner: Affine) -> Affine:
    """outer ∘ inner."""
    linear = outer[:, :2] @ inner[:, :2]
    return np.concatenate([linear, (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]], axis=1)


def invert(m: Affine) -> Affine:
    inverse = np.linalg.inv(m[:, :2])
    return np.concatenate([inverse, -(inverse @ m[:, 2])[:, None]], axis=1)


def carry(mask: NDArray[np.bool_], flow: Flow) -> NDArray[np.bool_]:
    """A neighbour's mask [h, w] brought to this frame, given the flow from this frame to that neighbour."""
    h, w = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    reach = 40  # nothing that moves further in one frame is found by the flow
    y0, y1 = max(int(rows[0]) - reach, 0), min(int(rows[-1]) + reach + 1, h)
    x0, x1 = max(int(columns[0]) - reach, 0), min(int(columns[-1]) + reach + 1, w)
    xs, ys = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    part = flow[y0:y1, x0:x1]
    moved = cv2.remap(
        mask.astype(np.float32), xs + part[..., 0], ys + part[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    result = np.zeros((h, w), dtype=bool)
    result[y0:y1, x0:x1] = np.asarray(moved) > 0.5
    return result
