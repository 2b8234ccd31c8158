"""Mask tracks of an entry: every run length checked, pixels filled only where they are used."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import TrackFile
from schemas.base import InstanceId
from schemas.palette import number
from schemas.rle import run_lengths

Runs = NDArray[np.int64]


@dataclass(frozen=True)
class MaskTracks:
    """Checked runs per ID and frame; None where nothing of the ID is visible."""

    height: int
    width: int
    runs: dict[InstanceId, tuple[Runs | None, ...]]

    @classmethod
    def read(cls, tracks: TrackFile) -> "MaskTracks":
        """ValueError, naming ID and frame, for a mask of another size or whose run lengths do not fill it exactly."""
        height, width = tracks.size
        checked: dict[InstanceId, tuple[Runs | None, ...]] = {}
        for name, masks in tracks.tracks.items():
            runs: list[Runs | None] = []
            for frame, mask in enumerate(masks):
                if mask is not None and mask.size != tracks.size:
                    raise ValueError(f"{name}, frame {frame}: the mask has size {mask.size}, not {tracks.size}")
                try:
                    runs.append(None if mask is None else run_lengths(mask.counts, height, width))
                except ValueError as error:
                    raise ValueError(f"{name}, frame {frame}: {error}") from None
            checked[name] = tuple(runs)
        return cls(height, width, checked)

    def fill(self, name: InstanceId, frames: range, out: NDArray[np.uint8] | None = None) -> NDArray[np.bool_]:
        """Masks [len(frames), H, W] of one ID, in `out` where it is given."""
        if out is None:
            out = np.empty((len(frames), self.height, self.width), dtype=np.uint8)
        for mask, frame in zip(out, frames, strict=True):
            runs = self.runs[name][frame]
            if runs is None:
                mask[:] = 0
                continue
            # Runs go down the columns; OpenCV turns the picture many times faster than a strided copy.
            flat = np.repeat((np.arange(runs.size) % 2).astype(np.uint8), runs)
            cv2.transpose(flat.reshape(self.width, self.height), mask)
        return out.view(np.bool_)

    def agrees_with(self, id_map: NDArray[np.uint8]) -> bool:
        """Whether an ID map (palette indices [H, W]) can be that of the first frame's masks.

        Every pixel shows an ID whose mask covers it, and background only where there is no mask. So tracks that have
        changed places, or the map of another clip, are told.
        """
        covered = np.zeros_like(id_map, dtype=bool)
        shown = np.zeros_like(covered)
        for name in self.runs:
            mask = self.fill(name, range(1))[0]
            covered |= mask
            shown |= mask & (id_map == number(name))
        return bool(((id_map != 0) == covered).all() and (shown == covered).all())
