"""Masks from boxes, points and first masks, by a tracker engine of the data pipeline: here the trainer asks for one.

An engine tracks from a box, so a point becomes one first: around what looks like it and hangs together with it.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.errors import UserError
from schemas import Anchor, Box, Track
from schemas.rle import fill, run_lengths
from schemas.settings import parse_mapping
from schemas.text import one_line
from schemas.tracks import Rle

ALIKE = 12
"""CIELAB units (8 bits) between a pixel and the point's: steps of a smooth shade stay below, most outlines do not."""

Corners = tuple[float, float, float, float]
Mask = NDArray[np.bool_]


class Trackers:
    """The engine that a profile names, `embedded` without one; loaded when it is first asked.

    UserError from all of it where the profile or the engine cannot be used.
    """

    def __init__(self, profile: Path | None = None) -> None:
        self.profile = profile

    def masks(
        self, image: NDArray[np.uint8], boxes: Mapping[str, Corners], points: Mapping[str, tuple[float, float]]
    ) -> dict[str, Mask]:
        """[H, W] by ID, of a picture RGB [H, W, 3]. UserError where a place is outside, or nothing is found there."""
        height, width = image.shape[:2]
        corners = dict(boxes) | {name: _around(name, image, point) for name, point in points.items()}
        anchors = []
        for name, (x0, y0, x1, y1) in sorted(corners.items()):
            if x1 <= x0 or y1 <= y0:
                raise UserError(f"the box of {name} has no area: give x0, y0, x1, y1, the far corner last")
            if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
                raise UserError(f"the box of {name} lies outside of the picture, which is {width}x{height}")
            anchors.append(_anchor(name, (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))))
        found = {}
        for track in self._propagate(image[None], anchors):
            if track.masks[0] is None:
                raise UserError(f"the tracker finds nothing of {track.id}: give a closer box, or a mask")
            found[track.id] = fill(run_lengths(track.masks[0], height, width), height, width)
        return found

    def follow(self, video: NDArray[np.uint8], first: Mapping[str, Mask]) -> dict[str, Mask]:
        """[T, H, W] by ID, through a video RGB [T, H, W, 3], from the boxes of its first frame's masks [H, W].

        The first frame keeps the mask that is given; an ID that is not in it is nowhere.
        """
        height, width = video.shape[1:3]
        found = {name: np.zeros((len(video), height, width), dtype=bool) for name in first}
        for key, masks in self.tracked(video, first).items():
            for own, mask in zip(found[key], masks, strict=True):
                if mask is not None:
                    own[:] = fill(run_lengths(mask, height, width), height, width)
        for name, given in first.items():
            found[name][0] = given
        return found

    def tracked(self, video: NDArray[np.uint8], first: Mapping[str, Mask]) -> dict[str, tuple[Rle | None, ...]]:
        """The engine's own tracks, by ID, of the same; an ID that is not in the first frame has none."""
        anchors = [_anchor(name, _bounds(mask)) for name, mask in first.items() if mask.any()]
        return {track.id: track.masks for track in self._propagate(video, anchors)}

    @property
    def identity(self) -> str:
        """What decides about its masks: the engine, its settings and its weights."""
        with self._told():
            return str(self._engine.identity)

    def _propagate(self, frames: NDArray[np.uint8], anchors: Sequence[Anchor]) -> list[Track]:
        with self._told():
            tracks: list[Track] = self._engine.propagate(frames, anchors)
        return tracks

    @cached_property
    def _engine(self) -> Any:
        from tasks.engines.registry import EngineSpec, load_engine
        from tasks.store.folder import Folder

        named: Any = {}
        if self.profile is not None:
            try:
                settings = parse_mapping(self.profile.read_text(encoding="utf-8"), f"--profile {self.profile}")
                named = (settings.get("engines") or {}).get("tracker") or {}
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "not valid UTF-8"
                raise UserError(f"--profile {self.profile}: cannot be read: {why}") from None
            except AttributeError:
                raise UserError(f"--profile {self.profile}: its engines.tracker is no mapping of settings") from None
            except ValueError as error:
                raise UserError(str(error)) from None
        return load_engine("tracker", EngineSpec.model_validate(named), Folder(tempfile.gettempdir()))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The pipeline's errors as the trainer's."""
        from tasks.errors import InfrastructureError
        from tasks.errors import UserError as EngineError

        try:
            yield
        except (EngineError, InfrastructureError, ValueError) as error:
            named = "the embedded tracker" if self.profile is None else f"the tracker of --profile {self.profile}"
            raise UserError(f"{named}: {one_line(error)}") from None


def _anchor(name: str, corners: Corners) -> Anchor:
    x0, y0, x1, y1 = corners
    return Anchor(id=name, frame=0, box=Box(x0=x0, y0=y0, x1=x1, y1=y1), score=1, confidence=1)


def _bounds(mask: Mask) -> Corners:
    """Of a mask that shows something."""
    left, top, wide, high = cv2.boundingRect(mask.astype(np.uint8))
    return left, top, left + wide, top + high


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
