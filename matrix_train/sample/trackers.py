"""Masks from boxes and points, by a tracker engine of the data pipeline: the one import of `tasks` in the trainer.

An engine tracks from a box, so a point becomes one first: around what looks like it and hangs together with it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.errors import UserError
from schemas import Anchor, Box
from schemas.rle import fill, run_lengths
from schemas.settings import parse_mapping
from schemas.tracks import Rle

ALIKE = 12
"""CIELAB units (8 bits) between a pixel and the point's: steps of a smooth shade stay below, most outlines do not."""

Corners = tuple[float, float, float, float]


class Trackers:
    """The engine that a profile names, `embedded` without one; loaded when it is first asked."""

    def __init__(self, profile: Path | None = None) -> None:
        self.profile = profile
        self._engine: Any = None

    def masks(
        self, image: NDArray[np.uint8], boxes: Mapping[str, Corners], points: Mapping[str, tuple[float, float]]
    ) -> dict[str, NDArray[np.bool_]]:
        """[H, W] by ID, of a picture RGB [H, W, 3]. UserError where a place is outside, or nothing is found there."""
        height, width = image.shape[:2]
        corners = dict(boxes) | {name: _around(name, image, point) for name, point in points.items()}
        anchors = []
        for name, (x0, y0, x1, y1) in sorted(corners.items()):
            if x1 <= x0 or y1 <= y0:
                raise UserError(f"the box of {name} has no area: give x0, y0, x1, y1, the far corner last")
            if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
                raise UserError(f"the box of {name} lies outside of the picture, which is {width}x{height}")
            box = Box(x0=max(x0, 0), y0=max(y0, 0), x1=min(x1, width), y1=min(y1, height))
            anchors.append(Anchor(id=name, frame=0, box=box, score=1, confidence=1))
        found = {}
        for track in self.engine.propagate(image[None], anchors):
            if track.masks[0] is None:
                raise UserError(f"the tracker finds nothing of {track.id}: give a closer box, or a mask")
            found[track.id] = fill(run_lengths(track.masks[0], height, width), height, width)
        return found

    def follow(
        self, frames: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]
    ) -> dict[str, tuple[Rle | None, ...]]:
        """A mask or None for every frame of a video, RGB [T, H, W, 3], by ID, from masks [H, W] of its first frame.

        UserError for an empty mask, and for an engine that cannot be used.
        """
        anchors = []
        for name, mask in sorted(masks.items()):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not rows.size:
                raise UserError(f"the first frame's mask of {name} is empty: give one that shows it")
            box = Box(x0=columns[0], y0=rows[0], x1=columns[-1] + 1, y1=rows[-1] + 1)
            anchors.append(Anchor(id=name, frame=0, box=box, score=1, confidence=1))
        return {track.id: track.masks for track in self.engine.propagate(frames, anchors)}

    @property
    def engine(self) -> Any:
        """UserError where the profile or the engine cannot be used."""
        if self._engine is None:
            from tasks.engines.registry import EngineSpec, load_engine
            from tasks.errors import UserError as EngineError
            from tasks.store.folder import Folder

            named: Any = {}
            try:
                if self.profile is not None:
                    text = self.profile.read_text(encoding="utf-8")
                    named = (parse_mapping(text, f"--profile {self.profile}").get("engines") or {}).get("tracker") or {}
                home = tempfile.gettempdir()
                self._engine = load_engine("tracker", EngineSpec.model_validate(named), Folder(home))
            except (EngineError, ValueError) as error:
                raise UserError(str(error)) from None
            except (OSError, AttributeError) as error:
                raise UserError(f"--profile {self.profile}: cannot be read: {error}") from None
        return self._engine


def _around(name: str, image: NDArray[np.uint8], point: tuple[float, float]) -> Corners:
    """The box of the pixels that look like the point's and hang together with it, and a pixel more on each side."""
    height, width = image.shape[:2]
    x, y = (int(value) for value in point)
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(f"the point of {name}, {x},{y}, lies outside of the picture, which is {width}x{height}")
    lab = cv2.medianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), 5)
    reached = np.zeros((height + 2, width + 2), np.uint8)
    near = (ALIKE,) * 3
    _, _, _, (left, top, wide, high) = cv2.floodFill(
        lab, reached, (x, y), (0, 0, 0), near, near, 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | 1 << 8
    )
    if wide * high >= 0.9 * width * height:
        raise UserError(f"the point of {name} lies on the background, as it seems: give a box")
    return (left - 1, top - 1, left + wide + 1, top + high + 1)
