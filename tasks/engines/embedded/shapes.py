"""How well a region's outline goes with a class noun: a light prior, not a classifier.

Nouns are sorted into a few shapes; a noun that is in none gets a neutral prior. A dog and a cat look alike here, and so
do all people.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Shape = Literal["person", "animal", "bird", "round", "boxy", "book", "tall", "cup", "rod", "any"]

_NOUNS: dict[Shape, str] = {
    "person": "person man woman boy girl child kid baby guy lady people player worker chef cook dancer runner teacher "
    "student toddler adult teenager gentleman mother father brother sister friend",
    "animal": "dog cat puppy kitten horse cow sheep goat fox wolf bear lion tiger pig deer rabbit pony",
    "bird": "bird duck parrot pigeon hen chicken crow gull sparrow",
    "round": "ball apple orange tomato balloon football basketball melon lemon",
    "boxy": "box crate cube suitcase chest package parcel bag carton backpack",
    "book": "book notebook tablet magazine laptop board",
    "tall": "bottle vase kettle jar jug can thermos candle lamp",
    "cup": "cup mug bowl glass pot bucket",
    "rod": "stick rope pole rod broom knife spoon bat racket rake umbrella leash string cane whisk",
}
_SHAPE_OF: dict[str, Shape] = {noun: shape for shape, nouns in _NOUNS.items() for noun in nouns.split()}


def shape_of(noun: str) -> Shape:
    """The shape of a class noun; the last word counts ("tennis ball")."""
    words = noun.lower().split()
    return _SHAPE_OF.get(words[-1], "any") if words else "any"


@dataclass(frozen=True)
class Outline:
    """Measures of a region that do not change with its size."""

    aspect: float
    """Width over height of its box."""
    extent: float
    """Area over area of its box."""
    solidity: float
    """Area over area of its convex hull."""
    slenderness: float
    """Long over short side of the smallest turned box around it."""
    height: float
    """Height over the picture's height."""
    head: float
    """0 … 1: skin and hair on top, narrower than what is below."""


def outline(mask: NDArray[np.bool_], picture_height: int, head: float = 0.0) -> Outline:
    """Measures of a region given as a mask of its box [h, w]; `picture_height` in the same pixels."""
    h, w = mask.shape
    area = float(mask.sum())
    points = cv2.findNonZero(mask.astype(np.uint8))
    hull = cv2.contourArea(cv2.convexHull(points)) + 0.5 * (h + w)
    (_, _), (a, b), _ = cv2.minAreaRect(points)
    return Outline(
        w / h, area / (w * h), min(area / hull, 1.0), (max(a, b) + 1) / (min(a, b) + 1), h / picture_height, head
    )


def head_of(blob: NDArray[np.bool_], skin: NDArray[np.bool_]) -> float:
    """0 … 1: skin in the upper part of a blob [h, w], where it is narrower than below; none on top of what is wide."""
    height, width = blob.shape
    upper = max(height // 4, 2)
    on_top = blob[:upper]
    if on_top.sum() < 12:
        return 0.0
    share = float(skin[:upper].sum() / on_top.sum())
    widths = blob.sum(1)
    narrow = float(np.median(widths[:upper])) / max(float(np.percentile(widths, 90)), 1.0)
    upright = min(max(3.0 - 2.0 * width / height, 0.0), 1.0)
    return float(upright) * min(share / 0.25, 1.0) * (1.0 if narrow < 0.85 else 0.6)


def _near(value: float, target: float, spread: float) -> float:
    """1 at the target, falling off as a Gaussian of the log-ratio."""
    return math.exp(-0.5 * (math.log(max(value, 1e-3) / target) / spread) ** 2)


def likeness(shape: Shape, o: Outline) -> float:
    """0 … 1: how well the outline goes with the shape; 0.5 where nothing is known."""
    thing = 1.0 - 0.8 * o.head
    match shape:
        case "person":
            return (
                (0.25 + 0.75 * o.head)
                * (0.4 + 0.6 * _near(o.aspect, 0.42, 0.6))
                * _near(max(o.height, 0.05), 0.45, 0.8)
            )
        case "animal":
            size = math.sqrt(min(o.height / 0.15, 1.0))
            return thing * size * _near(o.aspect, 1.35, 0.4) * _near(o.solidity, 0.6, 0.3) * _near(o.extent, 0.45, 0.4)
        case "bird":
            return thing * _near(o.aspect, 1.5, 0.4) * _near(o.solidity, 0.82, 0.2) * _near(o.height, 0.14, 0.6)
        case "round":
            return thing * _near(o.aspect, 1.0, 0.25) * _near(o.extent, 0.785, 0.12) * _near(o.solidity, 0.97, 0.1)
        case "boxy":
            return thing * _near(o.aspect, 1.15, 0.4) * _near(o.extent, 0.93, 0.2) * _near(o.solidity, 0.97, 0.1)
        case "book":
            return thing * _near(o.aspect, 1.3, 0.35) * _near(o.extent, 0.97, 0.15) * _near(o.solidity, 0.98, 0.1)
        case "tall":
            return thing * _near(o.aspect, 0.42, 0.4) * _near(o.extent, 0.8, 0.25) * _near(o.solidity, 0.9, 0.15)
        case "cup":
            return thing * _near(o.aspect, 1.0, 0.35) * _near(o.extent, 0.76, 0.15) * _near(o.solidity, 0.92, 0.12)
        case "rod":
            return thing * min(o.slenderness / 7, 1.0)
        case "any":
            return 0.5
