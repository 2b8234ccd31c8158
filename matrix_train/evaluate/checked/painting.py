"""A planted fault as pictures: what an edit of the tracks (`faults.py`) looks like, made from the true video's pixels.

Whoever is seen elsewhere, or no more, is taken out: behind it comes what the nearest frames in time show there where
nobody covers it, and what no frame shows is filled in from around. Then it is put where the edit has it, before
everybody else. What is no part of a mask stays: a shadow on the floor does. Boxes are drawn later, from the edit's
tracks.
"""

from dataclasses import replace

import cv2
import numpy as np

from matrix_train.evaluate.checked.faults import Edit, NoRoom, Sprite, moved
from matrix_train.evaluate.protocol.prompt import Mask, Picture
from matrix_train.evaluate.seen.footage import Footage
from schemas.base import InstanceId
from schemas.rle import fill, run_lengths
from schemas.truth import VideoTruth

EDGE = 0.006
"""Of the picture's width: how far beyond its mask an instance's colours reach in a compressed video."""

OTHER = 64
"""Mean difference of its pixels, of 255, from which an instance in other colours is another one."""


def painted(truth: VideoTruth, edit: Edit, footage: Footage) -> Footage:
    """The footage with the edit. Sprites come from frames that are kept, or from the frame itself.

    NoRoom where one is to be in other colours and would look about the same.
    """
    painter = _Painter(truth, footage)
    frames = [painter.paint(edit, frame) for frame in footage.kept]
    return replace(footage, frames=np.stack(frames))


class _Painter:
    def __init__(self, truth: VideoTruth, footage: Footage) -> None:
        self.truth, self.footage = truth, footage
        self.tracks = {i.id: i.masks for i in truth.instances}
        reach = 2 * max(1, round(EDGE * truth.width)) + 1
        self.brush = np.ones((reach, reach), np.uint8)
        everybody = {frame: self._all(set(self.tracks), frame) for frame in footage.kept}
        self.covered = {frame: self._wider(mask) for frame, mask in everybody.items()}

    def paint(self, edit: Edit, frame: int) -> Picture:
        sprites = {key: shown[frame] for key, shown in edit.shown.items()}
        in_place = {s.of for s in sprites.values() if s and (s.frame, s.aside) == (frame, 0)}
        gone = sprites.keys() & self.tracks.keys() - in_place
        picture = self._without(gone, frame)
        for sprite in sprites.values():
            if sprite is not None:
                mask = moved(self._mask(sprite.of, sprite.frame), sprite.aside)
                picture[mask] = moved(self._look(sprite), sprite.aside)[mask]
        return picture

    def _without(self, gone: set[InstanceId], frame: int) -> Picture:
        picture = self.footage.pictures[frame].copy()
        hole = self._wider(self._all(gone, frame)) & ~self._all(self.tracks.keys() - gone, frame)
        for other in sorted(self.footage.kept, key=lambda kept: abs(kept - frame)):
            if not hole.any():
                return picture
            free = hole & ~self.covered[other]
            picture[free] = self.footage.pictures[other][free]
            hole &= ~free
        return np.asarray(cv2.inpaint(picture, hole.astype(np.uint8), self.brush.shape[0], cv2.INPAINT_TELEA), np.uint8)

    def _look(self, sprite: Sprite) -> Picture:
        picture = self.footage.pictures[sprite.frame]
        if not sprite.recoloured:
            return picture
        other = 255 - picture
        mask = self._mask(sprite.of, sprite.frame)
        if mask.any() and np.abs(picture[mask].astype(np.int16) - other[mask]).mean() < OTHER:
            raise NoRoom("in other colours the recipient looks about the same")
        return other

    def _mask(self, key: InstanceId, frame: int) -> Mask:
        height, width = self.truth.height, self.truth.width
        rle = self.tracks[key][frame]
        return np.zeros((height, width), bool) if rle is None else fill(run_lengths(rle, height, width), height, width)

    def _all(self, keys: set[InstanceId], frame: int) -> Mask:
        masks = [self._mask(key, frame) for key in keys]
        return np.any(masks, axis=0) if masks else np.zeros((self.truth.height, self.truth.width), bool)

    def _wider(self, mask: Mask) -> Mask:
        return np.asarray(cv2.dilate(mask.astype(np.uint8), self.brush), bool)
