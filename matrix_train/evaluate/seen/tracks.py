"""What tracks say without a model: who is seen, who touches whom, who moves, who was there all at once.

A `Film` is all that is known of a video without its acts: a truth record is one, and so are the tracks of any video.

Masks are looked at on a coarse grid of at most `GRID` columns: contact, motion and overlap need no more, and a video
of many frames is read in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.evaluate.protocol.prompt import Mask
from schemas.base import InstanceId
from schemas.rle import area, fill, run_lengths
from schemas.tracks import Rle

GRID = 160
"""Most columns of the coarse grid."""

TOUCH = 0.02
"""Two that touch: their masks are no farther apart than this share of the picture's width, drawn outlines included."""

CHANGED = 0.25
"""A mask is elsewhere, or in another pose, from this 1 − IoU on."""

WHOLE = 0.5
"""Of its median area: more than this is the whole instance, not what an edge or another thing leaves of it."""

_LOOKS = 24
"""Most frames of a stretch that are compared."""


class Tracked(Protocol):
    """An instance and its mask in every frame."""

    @property
    def id(self) -> InstanceId: ...
    @property
    def cls(self) -> str: ...
    @property
    def masks(self) -> tuple[Rle | None, ...]: ...


class Film(Protocol):
    """Size in pixels, frames, frames a second, and who is seen in it."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def fps(self) -> float: ...
    @property
    def instances(self) -> Sequence[Tracked]: ...


@dataclass(frozen=True)
class Seen:
    """A `Tracked` of a video whose truth nobody knows."""

    id: InstanceId
    cls: str
    masks: tuple[Rle | None, ...]


@dataclass(frozen=True)
class Filmed:
    """A `Film` of a video whose truth nobody knows."""

    width: int
    height: int
    frames: int
    fps: float
    instances: tuple[Seen, ...]


class Tracks:
    """The tracks of a film."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self.step = -(-film.width // GRID)
        self._rle: dict[InstanceId, tuple[Rle | None, ...]] = {i.id: i.masks for i in film.instances}
        # Caches of this object, which go with it: as decorators they would keep every video's tracks.
        self._mask = lru_cache(maxsize=512)(self._decode)
        self.areas = cache(self._areas)

    def seen(self, key: InstanceId, frame: int) -> bool:
        return self._rle[key][frame] is not None

    def mask(self, key: InstanceId, frame: int) -> Mask:
        """On the coarse grid; of a mask that is there, at least a cell."""
        return self._mask(key, frame)

    def _decode(self, key: InstanceId, frame: int) -> Mask:
        rle = self._rle[key][frame]
        height, width = self.film.height, self.film.width
        rows, columns = -(-height // self.step), -(-width // self.step)
        if rle is None:
            return np.zeros((rows, columns), dtype=bool)
        fine = fill(run_lengths(rle, height, width), height, width)
        padded = np.pad(fine, ((0, rows * self.step - height), (0, columns * self.step - width)))
        return np.asarray(padded.reshape(rows, self.step, columns, self.step).any(axis=(1, 3)))

    def _areas(self, key: InstanceId) -> tuple[int, ...]:
        """Pixels by frame, 0 where unseen."""
        height, width = self.film.height, self.film.width
        return tuple(0 if rle is None else area(run_lengths(rle, height, width)) for rle in self._rle[key])

    def gap(self, one: InstanceId, other: InstanceId, frame: int) -> float:
        """The least distance between two masks as a share of the picture's width; 1 where one of them is unseen."""
        a, b = self.mask(one, frame), self.mask(other, frame)
        if not a.any() or not b.any():
            return 1.0
        away: NDArray[np.float32] = cv2.distanceTransform((~a).astype(np.uint8), cv2.DIST_L2, 3)
        # Neighbouring cells are at distance 1: they touch.
        return max(0.0, float(away[b].min()) - 1) / int(a.shape[1])

    def touching(self, one: InstanceId, other: InstanceId, frames: Sequence[int]) -> list[int]:
        """The frames in which two touch."""
        return [frame for frame in frames if self.gap(one, other, frame) <= TOUCH]

    def together(self, one: InstanceId, other: InstanceId, frames: Sequence[int]) -> list[int]:
        """The frames in which both are seen."""
        return [frame for frame in frames if self.seen(one, frame) and self.seen(other, frame)]

    def change(self, key: InstanceId, one: int, other: int) -> float:
        """1 − IoU of an instance's masks at two frames."""
        a, b = self.mask(key, one), self.mask(key, other)
        either = int((a | b).sum())
        return 1 - int((a & b).sum()) / either if either else 0.0

    def stir(self, key: InstanceId, frame: int) -> float:
        """How much an instance changes around a frame: from the one before to the one after. 0 where it is not seen in
        both, since coming and going is no motion."""
        before, after = max(frame - 1, 0), min(frame + 1, self.film.frames - 1)
        return self.change(key, before, after) if self.seen(key, before) and self.seen(key, after) else 0.0

    def changed(self, key: InstanceId, frames: Sequence[int]) -> int | None:
        """The frame in which an instance is farthest from how it is in the first of these in which it is seen, where
        that counts as changed."""
        seen = [frame for frame in frames if self.seen(key, frame)]
        looked = seen[:: max(1, len(seen) // _LOOKS)] + seen[-1:]
        most = max(looked, key=lambda frame: self.change(key, seen[0], frame), default=0)
        return most if seen and self.change(key, seen[0], most) >= CHANGED else None

    def place(self, key: InstanceId, frame: int) -> tuple[float, float] | None:
        """The middle of a mask, (x, y) as shares of the picture's width; None where unseen."""
        rows, columns = np.nonzero(self.mask(key, frame))
        wide = -(-self.film.width // self.step)
        return (float(columns.mean()) / wide, float(rows.mean()) / wide) if rows.size else None

    def foot(self, key: InstanceId, frame: int) -> float:
        """How far down a mask reaches, as a share of the picture's height: 1 is the lower edge, 0 where unseen."""
        rows = np.flatnonzero(self.mask(key, frame).any(axis=1))
        return float(rows[-1] + 1) * self.step / self.film.height if rows.size else 0.0

    def head(self, key: InstanceId, frame: int) -> float:
        """How far down a mask begins, likewise."""
        rows = np.flatnonzero(self.mask(key, frame).any(axis=1))
        return float(rows[0]) * self.step / self.film.height if rows.size else 0.0

    def vanished(self, key: InstanceId, frame: int) -> bool:
        """Unseen, and whole when it was last seen: not gone over the picture's edge, not hidden bit by bit."""
        before = [f for f in range(frame) if self.seen(key, f)]
        return not self.seen(key, frame) and bool(before) and self._whole(key, before[-1])

    def sprang_up(self, key: InstanceId, frame: int) -> bool:
        """Seen, not in frame 0, and whole when it was first seen."""
        if not self.seen(key, frame) or self.seen(key, 0):
            return False
        return self._whole(key, next(f for f in range(frame + 1) if self.seen(key, f)))

    def _whole(self, key: InstanceId, frame: int) -> bool:
        mask = self.mask(key, frame)
        at_edge = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
        areas = self.areas(key)
        return not at_edge and areas[frame] >= WHOLE * float(np.median([a for a in areas if a]))
