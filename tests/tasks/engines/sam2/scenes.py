"""Clips and anchors for the tracker's tests, and its two implementations made small."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Anchor, Box, Track
from schemas.settings import validate
from tasks.engines.sam2.engine import Sam2Tracker
from tasks.engines.sam2.options import Sam2Options
from tasks.media.clips import decode_mask
from tasks.store.folder import Folder
from tests.tasks.engines.tiny_sam2 import save_tiny

IMPLEMENTATIONS = ("sam2", "transformers")


def scene(length: int, height: int = 64, width: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    """Frames uint8 [T, H, W, 3]: a still pattern of tiles and two patches that move across it."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    still = still.repeat(8, 0).repeat(8, 1)[:height, :width]
    frames = np.repeat(still[None], length, 0)
    for t in range(length):
        for k, colour in enumerate(((250, 40, 30), (20, 60, 240))):
            y, x = 5 + k * height // 2, (3 + 2 * t + k * width // 2) % max(width - 16, 1)
            frames[t, y : y + 16, x : x + 16] = colour
    return frames


def anchor(number: int, frame: int, box: Sequence[float]) -> Anchor:
    x0, y0, x1, y1 = box
    return Anchor(id=f"id{number}", frame=frame, box=Box(x0=x0, y0=y0, x1=x1, y1=y1), score=0.9, confidence=0.9)


def three_anchors() -> list[Anchor]:
    """On frames 3, 9 and 9 of `scene`."""
    return [anchor(1, 3, (9, 5, 25, 21)), anchor(2, 9, (57, 37, 73, 53)), anchor(3, 9, (30, 10, 60, 50))]


def tracker(folder: Path, implementation: str = "sam2", seed: int = 0, **settings: Any) -> Sam2Tracker:
    """A tracker as a profile makes it, of a tiny model that is saved and loaded by path."""
    options = save_tiny(folder / f"{implementation}-{seed}", implementation, seed) | settings
    return Sam2Tracker(validate(Sam2Options, options), Folder(str(folder / "home")))


def masks_of(track: Track, frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Masks [T, H, W]."""
    return np.stack([decode_mask(m, *frames.shape[1:3]) for m in track.masks])


def difference(a: Sequence[Track], b: Sequence[Track], frames: NDArray[np.uint8]) -> float:
    """Share of all pixels in which two results differ."""
    assert [t.id for t in a] == [t.id for t in b]
    pairs = zip(a, b, strict=True)
    return float(np.mean([masks_of(x, frames) != masks_of(y, frames) for x, y in pairs]))
