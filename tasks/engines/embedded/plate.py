"""The background plate: what the camera would see with nobody there, and how far to trust it pixel by pixel."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.embedded.flow import Affine, invert

MIN_SEEN = 3
"""A plate pixel must have been seen free in at least so many frames."""


NOISE = (1.0, 0.4, 0.4)
"""What the encoder alone may add to the spread of L, a, b."""
TINT = np.float32(1.5)
"""Least standard deviation of a shadow's a and b."""


@dataclass(frozen=True)
class Plate:
    """In the reference frame's coordinates; Lab as float32 [h, w, 3]."""

    lab: NDArray[np.float32]
    spread: NDArray[np.float32]
    """Robust standard deviation [h, w, 3]: noise, moving light, parallax."""
    known: NDArray[np.float32]
    """1 where the plate was seen free, else 0 [h, w]."""

    def seen_from(self, m: Affine) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Plate, spread and known as a frame with the map `m` (frame → reference) sees them."""
        h, w = self.known.shape
        back = invert(m)
        lab, spread = (
            np.asarray(cv2.warpAffine(x, back, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
            for x in (self.lab, self.spread)
        )
        known = np.asarray(cv2.warpAffine(self.known, back, (w, h), flags=cv2.INTER_LINEAR))
        return lab, spread, known > 0.9

    def explain(
        self, m: Affine, lab: NDArray[np.uint8], generic: NDArray[np.float32], dim_generic: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Log densities, relative to uniform, of the pixels of a frame [h, w, 3]: as background, as it is in shadow.

        generic, dim_generic [h, w] are what the surroundings' colours say, as they are and in a shadow; they decide
        where the plate is not known.
        """
        seen, spread, known = self.seen_from(m)
        light, *tint = (np.asarray(x) for x in cv2.split(lab.astype(np.float32)))
        mean, *tone = (np.asarray(x) for x in cv2.split(seen))
        sd, *sds = (np.asarray(x) for x in cv2.split(spread))
        apart = sum(((a - b) / s) ** 2 for a, b, s in zip(tint, tone, sds, strict=True))
        norm = np.float32(3 * np.log(256) - 1.5 * np.log(2 * np.pi)) - np.log(sds[0] * sds[1])
        lit = np.maximum(norm - np.log(sd) - 0.5 * (((light - mean) / sd) ** 2 + apart), generic - 4)
        # A shadow darkens by anything up to 45 %, and takes as much from the tint.
        dim = np.clip(light / np.maximum(mean, 1), 0, 1)
        faded = sum(
            ((a - (128 + (b - 128) * dim)) / np.maximum(s, TINT)) ** 2 for a, b, s in zip(tint, tone, sds, strict=True)
        )
        shade = norm - np.log(0.18 * mean + 1) - np.float32(0.5) * faded
        shade = np.where(known, np.where((dim > 0.55) & (dim < 1), shade, np.float32(-99)), dim_generic)
        return np.asarray(np.where(known, lit, generic), dtype=np.float32), np.asarray(shade, dtype=np.float32)


def build(labs: NDArray[np.uint8], maps: list[Affine]) -> Plate:
    """Median over all frames [T, h, w, 3] in the reference frame's coordinates."""
    stack = _aligned(labs, maps)
    middle = len(stack) // 2
    lab = np.partition(stack, middle, axis=0)[middle]
    off = np.empty((len(stack[::2]), *lab.shape), dtype=np.uint8)
    for k, frame in enumerate(stack[::2]):
        cv2.absdiff(frame, lab, dst=off[k])
    half = len(off) // 2 + 1
    return Plate(
        lab.astype(np.float32),
        _spread(np.partition(off, half - 1, axis=0)[:half]),
        np.ones(lab.shape[:2], dtype=np.float32),
    )


def uncover(
    plate: Plate, covered: NDArray[np.bool_], labs: NDArray[np.uint8], maps: list[Affine], taken: NDArray[np.bool_]
) -> Plate:
    """The plate done anew where it is `covered` [h, w] by things that hardly move, from the frames that are free there.

    taken: [T, h, w], pixels that belong to something tracked. Where nothing else was ever seen, nothing is known.
    """
    stack = _aligned(labs, maps, covered)
    free = _aligned((~taken).astype(np.uint8), maps, covered) > 0
    count = free.sum(0)
    # Values of taken frames sort to the end, so that the median of the free ones stands at half their count.
    ordered = np.sort(np.where(free[..., None], stack, np.uint8(255)), axis=0)
    lab, known = plate.lab.copy(), plate.known.copy()
    lab[covered] = np.take_along_axis(ordered, (count // 2)[None, :, None], axis=0)[0]
    known[covered] = count >= MIN_SEEN
    spread = plate.spread.copy()
    spread[covered] = np.median(plate.spread[~covered], axis=0) if (~covered).any() else spread[covered]
    return Plate(lab, spread, known)


def share(taken: NDArray[np.bool_], maps: list[Affine]) -> NDArray[np.float32]:
    """Share of the frames in which a place of the reference frame is taken [h, w]."""
    return np.asarray(_aligned(taken.astype(np.uint8), maps).mean(0, dtype=np.float32))


def _aligned(
    pictures: NDArray[np.uint8], maps: list[Affine], where: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """All pictures in the reference frame's coordinates, or their pixels `where` only: [T, n, ...]."""
    h, w = pictures.shape[1:3]
    moved = (
        np.asarray(
            cv2.warpAffine(p, m, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
        )
        for p, m in zip(pictures, maps, strict=True)
    )
    return np.stack([p if where is None else p[where] for p in moved])


def _spread(off: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Standard deviation from the smaller half of the absolute deviations, smoothed, at least the encoder's noise."""
    # Of a normal variable the smaller half has a mean of 0.324 standard deviations.
    deviation = off.mean(0, dtype=np.float32) / np.float32(0.324)
    return np.asarray(cv2.GaussianBlur(deviation, (0, 0), 1.5) + np.array(NOISE, dtype=np.float32))
