"""Pictures drawn for the tests of the embedded detector and verifier: plain figures on a grey, grainy ground."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import Box
from tasks.engines.base import Frames

Picture = NDArray[np.uint8]
Rgb = tuple[int, int, int]

RED, BLUE, GREEN, YELLOW = (206, 32, 40), (34, 76, 204), (36, 150, 62), (240, 214, 40)
SKIN, TROUSERS = (226, 184, 152), (54, 58, 74)
HEIGHT, WIDTH = 240, 360


def ground(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Picture:
    """A wall above, a floor below, and grain."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), (172, 166, 158), dtype=np.float32)
    picture[height // 2 :] = (124, 120, 116)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def clutter(seed: int = 0) -> Picture:
    """Dull patches of every lightness, each about ten pixels wide."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (HEIGHT // 10, WIDTH // 10, 1)).astype(np.uint8)
    tint = rng.integers(-14, 14, (HEIGHT // 10, WIDTH // 10, 3))
    patches = np.clip(coarse.astype(int) + tint, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(patches, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))


def ball(picture: Picture, x: int, y: int, radius: int, colour: Rgb) -> Box:
    cv2.circle(picture, (x, y), radius, colour, -1, cv2.LINE_AA)
    return Box(x0=x - radius, y0=y - radius, x1=x + radius + 1, y1=y + radius + 1)


def block(picture: Picture, x: int, y: int, width: int, height: int, colour: Rgb) -> Box:
    cv2.rectangle(picture, (x, y), (x + width - 1, y + height - 1), colour, -1)
    return Box(x0=x, y0=y, x1=x + width, y1=y + height)


def person(picture: Picture, x: int, y: int, size: int, colour: Rgb) -> Box:
    """Standing with the feet at (x, y), `size` pixels tall, in a garment of this colour."""
    half, radius = round(0.14 * size), round(0.09 * size)
    for side in (-1, 1):
        left = x + side * half // 2 - half // 3
        block(picture, left, y - round(0.42 * size), 2 * half // 3, round(0.42 * size), TROUSERS)
    block(picture, x - half, y - round(0.82 * size), 2 * half, round(0.42 * size), colour)
    cv2.circle(picture, (x, y - size + radius), radius, SKIN, -1, cv2.LINE_AA)
    return Box(x0=x - half, y0=y - size, x1=x + half, y1=y)


def still(picture: Picture, count: int = 4) -> Frames:
    return np.stack([picture] * count)
