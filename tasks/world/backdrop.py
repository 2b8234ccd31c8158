"""Textured backgrounds in muted colours, the moving light on them, and the drift of the camera."""

import math
import random
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.truth import Level
from tasks.world.brush import Rgb

Picture = NDArray[np.uint8]

SETTINGS: dict[str, tuple[tuple[Rgb, Rgb], ...]] = {
    "room": (((176, 168, 156), (138, 124, 110)), ((150, 158, 162), (112, 110, 108)), ((196, 190, 178), (158, 150, 138)),
             ((98, 100, 106), (84, 80, 78))),
    "park": (((150, 162, 168), (112, 122, 92)), ((176, 182, 182), (136, 138, 112)), ((108, 120, 118), (88, 98, 78))),
    "street": (((150, 140, 130), (124, 122, 120)), ((116, 112, 112), (98, 98, 100)),
               ((182, 176, 166), (148, 146, 142))),
}  # fmt: skip
"""Wall (or sky) and floor colours of each setting, all of low saturation."""


def distance(a: Rgb, b: Rgb) -> float:
    """CIE76 distance of two colours; about 2 is just visible, 40 is plain."""
    pair = np.array([[a, b]], dtype=np.float32) / 255
    lab = cv2.cvtColor(pair, cv2.COLOR_RGB2LAB)[0]
    return float(np.linalg.norm(lab[0] - lab[1]))


def choose(rng: random.Random, colours: list[Rgb], level: Level) -> tuple[str, tuple[Rgb, Rgb]]:
    """A setting and its two colours. `plain` wants every given colour well off both; `hard` takes any."""
    pool = [(name, pair) for name in SETTINGS for pair in SETTINGS[name]]
    if level == "hard":
        return rng.choice(pool)
    rng.shuffle(pool)
    return max(
        pool, key=lambda s: min(min((distance(c, shade) for c in colours for shade in s[1]), default=99.0), 45.0)
    )


@dataclass(frozen=True)
class Camera:
    """A slow pan, a sway and, in `hard`, a shake and a zoom. Shifts are in units of the safe height."""

    pan: tuple[float, float]
    sway: tuple[float, float]
    phase: float
    shake: float
    zoom: float

    def at(self, t: float, duration: float) -> tuple[float, float, float]:
        """(dx, dy, scale) at time t."""
        u = t / duration - 0.5
        x = self.pan[0] * u + self.sway[0] * math.sin(1.3 * t + self.phase)
        y = self.pan[1] * u + self.sway[1] * math.sin(1.9 * t + 2 * self.phase)
        x += self.shake * math.sin(9.1 * t + self.phase)
        y += self.shake * math.sin(11.3 * t + 3 * self.phase)
        return x, y, 1.0 + self.zoom * u


def camera(rng: random.Random, level: Level) -> Camera:
    hard = level == "hard"
    reach = 0.1 if hard else 0.04
    return Camera(
        (rng.uniform(-reach, reach), rng.uniform(-0.4, 0.4) * reach),
        (rng.uniform(0.2, 0.5) * reach, rng.uniform(0.1, 0.3) * reach),
        rng.uniform(0, 6.28),
        0.008 if hard else 0.0,
        rng.uniform(-0.12, 0.12) if hard else rng.uniform(-0.04, 0.04),
    )


def _cloud(noise: np.random.Generator, height: int, width: int, cell: int) -> NDArray[np.float32]:
    """Smooth noise in -1..1 with features of about `cell` pixels."""
    rows, cols = height // cell + 3, width // cell + 3
    grid = noise.uniform(-1, 1, (rows, cols)).astype(np.float32)
    big = cv2.resize(grid, (cols * cell, rows * cell), interpolation=cv2.INTER_CUBIC)
    return np.asarray(big[cell : cell + height, cell : cell + width], dtype=np.float32)


class Backdrop:
    """A painted wall and floor on a canvas larger than the picture, seen through the camera."""

    def __init__(
        self, width: int, height: int, unit: float, setting: str, colours: tuple[Rgb, Rgb], seed: int, level: Level
    ) -> None:
        self.width, self.height, self.unit = width, height, unit
        self.pad = int(0.3 * unit) + 4
        noise = np.random.default_rng([seed, 7])
        w, h = width + 2 * self.pad, height + 2 * self.pad
        horizon = int(h / 2 + 0.02 * unit)
        canvas = np.empty((h, w, 3), dtype=np.float32)
        canvas[:horizon], canvas[horizon:] = colours
        amount = 26.0 if level == "hard" else 13.0
        for cell, share in (
            (max(int(0.3 * unit), 8), 1.0),
            (max(int(0.07 * unit), 5), 0.6),
            (max(int(0.02 * unit), 3), 0.5),
        ):
            canvas += (amount * share * _cloud(noise, h, w, cell))[..., None]
        self._pattern(canvas, horizon, setting, noise, amount)
        # Four channels: OpenCV warps them more than twice as fast as three.
        self.canvas = cv2.cvtColor(np.clip(canvas, 0, 255).astype(np.uint8), cv2.COLOR_RGB2RGBA)
        light = _cloud(noise, h, w, max(int(0.22 * unit), 8))
        self.light: Picture = np.clip(128 + 90 * light, 0, 255).astype(np.uint8)
        self.drift = (float(noise.uniform(6, 16)) * unit / 400, float(noise.uniform(-3, 3)) * unit / 400)

    def _pattern(
        self, canvas: NDArray[np.float32], horizon: int, setting: str, noise: np.random.Generator, amount: float
    ) -> None:
        """Planks, bricks or tufts: lines and flecks that move with the camera."""
        h, w, _ = canvas.shape
        step = max(int(0.09 * self.unit), 6)
        if setting == "park":
            count = int(w * h / (0.0012 * self.unit**2) / 12)
            for x, y, k in zip(
                noise.integers(0, w, count), noise.integers(horizon, h, count), noise.uniform(-1, 1, count), strict=True
            ):
                tall = int(0.02 * self.unit) + 1
                cv2.line(
                    canvas,
                    (int(x), int(y)),
                    (int(x + 3 * k), int(y - tall)),
                    tuple(float(v) for v in canvas[y, x] + amount * k),
                    1,
                )
            return
        for row, y in enumerate(range(horizon, h, step)):
            canvas[y : y + 1] -= amount
            if setting == "street":
                for x in range((row % 2) * step, w, 2 * step):
                    canvas[y : y + step, x : x + 1] -= amount
        if setting == "street":
            for row, y in enumerate(range(horizon - step // 2, 0, -step // 2)):
                canvas[y : y + 1] -= 0.6 * amount
                canvas[y : y + step // 2, (row % 2) * step :: 2 * step] -= 0.6 * amount
        else:
            canvas[:horizon, :: 3 * step] -= 0.8 * amount
        canvas[horizon - max(step // 5, 2) : horizon] -= 1.2 * amount

    def matrix(self, shift: tuple[float, float, float]) -> NDArray[np.float64]:
        """Affine 2×3 from canvas pixels to picture pixels."""
        dx, dy, scale = shift
        cx, cy = self.width / 2, self.height / 2
        across = cx + scale * (dx * self.unit - cx - self.pad)
        down = cy + scale * (dy * self.unit - cy - self.pad)
        return np.array([[scale, 0.0, across], [0.0, scale, down]])

    def frame(self, t: float, shift: tuple[float, float, float]) -> Picture:
        """The background at time t: RGB uint8 [H, W, 3]."""
        seen = cv2.warpAffine(self.canvas, self.matrix(shift), (self.width, self.height), flags=cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_REFLECT_101)  # fmt: skip
        across = int(self.drift[0] * t) % (2 * self.pad)
        down = int(self.pad + self.drift[1] * t)
        light = self.light[down : down + self.height, across : across + self.width]
        seen = cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB)
        return np.asarray(cv2.addWeighted(seen, 1.0, cv2.merge((light, light, light)), 0.14, -18), dtype=np.uint8)
