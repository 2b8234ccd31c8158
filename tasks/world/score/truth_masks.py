"""Masks of a rendered video's truth, as the normalised clip shows them."""

import numpy as np
from numpy.typing import NDArray

from schemas import Box, Clip
from schemas.truth import TrueInstance, VideoTruth
from tasks.media.clips import decode_mask


class TrueMasks:
    """Maps true masks, which are in displayed source pixels per source frame, to the pixels and frames of a clip.

    A clip pixel takes the source pixel that its centre falls on (nearest neighbour): `clip = source * scale - offset`.
    Pixels and frames that the truth does not have are empty.
    """

    def __init__(self, truth: VideoTruth, clip: Clip) -> None:
        self.truth, self.clip = truth, clip
        g = clip.geometry
        self._rows = np.floor((np.arange(clip.height) + 0.5 + g.offset_y) / g.scale).astype(np.int64)
        self._columns = np.floor((np.arange(clip.width) + 0.5 + g.offset_x) / g.scale).astype(np.int64)
        self._outside_rows = (self._rows < 0) | (self._rows >= truth.height)
        self._outside_columns = (self._columns < 0) | (self._columns >= truth.width)
        self._rows = self._rows.clip(0, truth.height - 1)
        self._columns = self._columns.clip(0, truth.width - 1)

    def at(self, instance: TrueInstance, frame: int) -> NDArray[np.bool_]:
        """Mask [H, W] of an instance at a frame of the clip."""
        source = self.clip.window.source_frames[frame]
        rle = instance.masks[source] if source < len(instance.masks) else None
        if rle is None:
            return np.zeros((self.clip.height, self.clip.width), dtype=bool)
        mask: NDArray[np.bool_] = decode_mask(rle, self.truth.height, self.truth.width)[self._rows][:, self._columns]
        mask[self._outside_rows] = False
        mask[:, self._outside_columns] = False
        return mask


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Smallest box around a mask [H, W]; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1]) + 1, y1=float(rows[-1]) + 1)
