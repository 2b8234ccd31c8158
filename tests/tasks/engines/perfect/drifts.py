"""Ways in which a mask leaves its instance: from some frame on, away from the anchor, for the rest of the clip."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from schemas.base import InstanceId
from tasks.media.clips import encode_mask
from tests.tasks.engines.perfect.oracle import Mask, Scene

LASTS = 0.2
"""Least share of the clip that a drift lasts."""


@dataclass(frozen=True)
class Drift:
    """`who`'s masks are true up to `onset` and drift from there on, forwards or backwards in time."""

    kind: str
    who: InstanceId
    onset: int
    step: int
    """1 forwards, -1 backwards."""
    speed: float
    """Of a slide or a growth: share of the instance's size, √area, a frame."""
    angle: float
    """Of a slide, in radians."""
    other: InstanceId | None
    """Whom a jump or a merger takes in."""

    def masks(self, scene: Scene) -> tuple[str | None, ...]:
        """Run lengths of every frame of the clip."""
        result = []
        for t in range(scene.clip.frames):
            gone = (t - self.onset) * self.step
            if gone < 0:
                result.append(scene.rle(self.who, t))
            else:
                result.append(encode_mask(KINDS[self.kind](self, scene, t, gone + 1)))
        return tuple(result)


def drift_of(kind: str, scene: Scene, who: InstanceId, anchor: int, roll: random.Random) -> Drift | None:
    """A drift of `who` that begins somewhere beyond the anchor frame, on the side with more room.

    None where there is nobody to jump on, or the instance is not in sight for long enough.
    """
    last = scene.clip.frames - 1
    step = 1 if last - anchor >= anchor else -1
    end = last if step > 0 else 0
    longest = abs(end - anchor)
    lasts = math.ceil(LASTS * scene.clip.frames)
    onsets = [
        t
        for k in range(1, longest - lasts + 2)
        if scene.rle(who, t := anchor + step * k) is not None and scene.rle(who, t - step) is not None
    ]
    if not onsets:
        return None
    onset = roll.choice(onsets)
    other = _other(kind, scene, who, onset)
    if kind in ("jump", "merge") and other is None:
        return None
    return Drift(kind, who, onset, step, roll.uniform(0.05, 0.15), roll.uniform(0, 2 * math.pi), other)


def _other(kind: str, scene: Scene, who: InstanceId, t: int) -> InstanceId | None:
    """For a jump the nearest thing of the class, for a merger the nearest thing of any."""
    among = scene.alike(who) if kind == "jump" else [i for i in scene.instances if i != who]
    own = scene.box(who, t)
    assert own is not None
    near = [
        (math.hypot(box.x0 + box.x1 - own.x0 - own.x1, box.y0 + box.y1 - own.y0 - own.y1), i)
        for i in among
        if (box := scene.box(i, t)) is not None
    ]
    return min(near, default=(0.0, None))[1]


# ---- the kinds: (drift, scene, frame, frames since the onset, from 1) → mask [H, W]


def _slide(drift: Drift, scene: Scene, t: int, gone: int) -> Mask:
    """Moves off over the background, ever further."""
    mask = scene.mask(drift.who, t)
    far = drift.speed * _side(drift, scene) * gone
    shift = np.array([[1, 0, far * math.cos(drift.angle)], [0, 1, far * math.sin(drift.angle)]])
    moved = cv2.warpAffine(mask.astype(np.uint8), shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(moved, dtype=bool)


def _jump(drift: Drift, scene: Scene, t: int, gone: int) -> Mask:
    """Lies on a neighbour of the class."""
    assert drift.other is not None
    return scene.mask(drift.other, t)


def _grow(drift: Drift, scene: Scene, t: int, gone: int) -> Mask:
    """Takes in more and more of what is around."""
    mask = scene.mask(drift.who, t)
    if not mask.any():
        return mask
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= drift.speed * _side(drift, scene) * gone)


def _freeze(drift: Drift, scene: Scene, t: int, gone: int) -> Mask:
    """Stays where the instance was."""
    return scene.mask(drift.who, drift.onset)


def _merge(drift: Drift, scene: Scene, t: int, gone: int) -> Mask:
    """Holds the nearest other thing too."""
    assert drift.other is not None
    return scene.mask(drift.who, t) | scene.mask(drift.other, t)


def _part(drift: Drift, scene: Scene, t: int, gone: int) -> Mask:
    """Keeps the upper two fifths only."""
    mask, box = scene.mask(drift.who, t), scene.box(drift.who, t)
    if box is not None:
        mask[round(box.y0 + 0.4 * (box.y1 - box.y0)) :] = False
    return mask


def _side(drift: Drift, scene: Scene) -> float:
    return math.sqrt(np.count_nonzero(scene.mask(drift.who, drift.onset)))


KINDS: dict[str, Callable[[Drift, Scene, int, int], Mask]] = {
    "slide": _slide,
    "jump": _jump,
    "grow": _grow,
    "freeze": _freeze,
    "merge": _merge,
    "part": _part,
}
