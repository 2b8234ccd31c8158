"""The brush that keeps the colour picture and the map of labels in step, and what a figure has to know of itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = tuple[int, int, int]
Xy = tuple[float, float]
_SHIFT = 4
"""Fractional bits of OpenCV's subpixel coordinates."""


def shade(colour: Rgb, factor: float) -> Rgb:
    """Darker below 1, lighter above."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


class Brush:
    """Draws anti-aliased into RGB uint8 [H, W, 3] and, hard-edged, its label into uint8 [H, W]."""

    def __init__(self, picture: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        self.picture, self.labels, self.label = picture, labels, 0

    def area(self, points: Sequence[Xy], colour: Rgb) -> None:
        corners = np.round(np.asarray(points, dtype=np.float64) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.picture, [corners], colour, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(self.labels, [corners], self.label, cv2.LINE_8, _SHIFT)

    def block(self, left: float, right: float, low: float, high: float, colour: Rgb) -> None:
        """An upright rectangle."""
        self.area([(left, low), (right, low), (right, high), (left, high)], colour)

    def oval(self, centre: Xy, rx: float, ry: float, colour: Rgb, turn: float = 0.0) -> None:
        angles = np.linspace(0, 2 * math.pi, 25)[:-1]
        x, y = rx * np.cos(angles), ry * np.sin(angles)
        c, s = math.cos(turn), math.sin(turn)
        self.area(np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], axis=1), colour)  # type: ignore[arg-type]

    def limb(self, a: Xy, b: Xy, width: float, colour: Rgb) -> None:
        """A thick line with round ends."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = math.hypot(dx, dy)
        if length < 1e-6:
            self.oval(a, width / 2, width / 2, colour)
            return
        lead = math.atan2(dy, dx)
        turn = np.linspace(math.pi / 2, 3 * math.pi / 2, 7) + lead
        r = width / 2
        start = np.stack([a[0] + r * np.cos(turn), a[1] + r * np.sin(turn)], axis=1)
        end = np.stack([b[0] - r * np.cos(turn), b[1] - r * np.sin(turn)], axis=1)
        self.area(np.concatenate([start, end]), colour)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Look:
    """What stays the same about a figure: its class, its colours, its size and width in pixels."""

    cls: str
    main: Rgb
    trim: Rgb
    """Legs and shoes of a person, details of the rest."""
    skin: Rgb
    hair: Rgb
    size: float
    half: float
    striped: bool = False
    """Darker bands across a person's garment."""


@dataclass(frozen=True)
class Stand:
    """How a figure stands in one frame, in pixels. `hand` is where its hands or mouth are, None where they hang."""

    x: float
    y: float
    face: int
    step: float
    """Phase of the walk in radians; 0 amplitude when `moving` is False."""
    moving: bool
    hand: Xy | None
    swing: float = 0.0
    waving: float = 0.0
    aim: Xy | None = None
    airborne: bool = False
