"""Colour names and CIE Lab: which pixels a colour word may mean, and which colour words a phrase holds.

Basic colour terms of English, each a region of lightness, chroma and hue angle (degrees, atan2(b, a)). Regions overlap
on purpose: a shaded red is still red, and a dark orange may be called brown. What cannot be told: colour under strongly
coloured light, and patterns of several colours ("striped").
"""

import re

import cv2
import numpy as np
from numpy.typing import NDArray

Lab = NDArray[np.float32]
"""CIE Lab, float32 [..., 3], L in 0..100."""

_ANY = (0.0, 360.0)
_REGIONS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    # lightness, chroma, hue; a hue range that ends below its start goes through 0
    "red": ((12, 66), (28, 140), (8, 50)),
    "orange": ((38, 88), (36, 140), (44, 82)),
    "yellow": ((52, 100), (32, 140), (80, 112)),
    "green": ((12, 95), (14, 140), (112, 192)),
    "blue": ((8, 92), (14, 140), (215, 306)),
    "purple": ((10, 75), (18, 140), (303, 340)),
    "pink": ((50, 92), (16, 90), (325, 30)),
    "brown": ((10, 56), (9, 48), (36, 88)),
    "white": ((66, 100), (0, 13), _ANY),
    "gray": ((30, 80), (0, 12), _ANY),
    "black": ((0, 36), (0, 17), _ANY),
    "turquoise": ((25, 95), (14, 140), (178, 232)),
    "beige": ((60, 95), (8, 36), (50, 105)),
}

_WORDS: dict[str, str] = {
    **{name: name for name in _REGIONS},
    "crimson": "red", "scarlet": "red", "maroon": "red", "burgundy": "red",
    "golden": "yellow", "gold": "yellow", "olive": "green", "lime": "green", "emerald": "green",
    "navy": "blue", "azure": "blue", "denim": "blue", "violet": "purple", "lilac": "purple", "lavender": "purple",
    "magenta": "pink", "rose": "pink", "chestnut": "brown", "tan": "beige", "cream": "beige", "grey": "gray",
    "silver": "gray", "teal": "turquoise", "cyan": "turquoise",
}  # fmt: skip

_MIXED = re.compile(r"\bmustard[- ]yellow\b", re.IGNORECASE)
_TOKEN = re.compile(r"[a-z]+")

NAMES: tuple[str, ...] = tuple(_REGIONS)


def colour_words(phrase: str) -> tuple[str, ...]:
    """The basic colour names that a phrase holds, in reading order, each once: "a navy cup" gives ("blue",)."""
    plain = _MIXED.sub("orange", phrase).lower()
    return tuple(dict.fromkeys(_WORDS[word] for word in _TOKEN.findall(plain) if word in _WORDS))


def to_lab(rgb: NDArray[np.uint8]) -> Lab:
    """RGB uint8 [H, W, 3] to CIE Lab (sRGB, D65)."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)


def chroma(lab: Lab) -> NDArray[np.float32]:
    """Distance from grey, [...]."""
    return np.hypot(lab[..., 1], lab[..., 2])


def hue(lab: Lab) -> NDArray[np.float32]:
    """Hue angle in degrees, 0 ≤ hue < 360, [...]."""
    return np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360


def is_called(name: str, lab: Lab) -> NDArray[np.bool_]:
    """Which pixels the colour name may mean, [...]."""
    (dark, light), (dull, vivid), (start, end) = _REGIONS[name]
    angle, strength = hue(lab), chroma(lab)
    turned = (angle >= start) & (angle <= end) if start <= end else (angle >= start) | (angle <= end)
    called: NDArray[np.bool_] = (
        (lab[..., 0] >= dark) & (lab[..., 0] <= light) & (strength >= dull) & (strength <= vivid) & turned
    )
    return called


def is_skin(lab: Lab) -> NDArray[np.bool_]:
    """Pixels in the range of human skin, light to dark, [...]. Wood, sand and brown fur lie in it too."""
    angle, strength = hue(lab), chroma(lab)
    skin: NDArray[np.bool_] = (
        (lab[..., 0] > 30) & (lab[..., 0] < 90) & (strength > 12) & (strength < 44) & (angle > 38) & (angle < 80)
    )
    return skin
