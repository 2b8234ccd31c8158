"""The lattice on which a model's video tokens lie."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The lattice of video tokens: `frames` × `height` × `width` cells.

    `latent_frames` is what the transformer must be given, padding for the temporal patch included. A token frame after
    the first stands for `time_factor` frames of the clip.
    """

    frames: int
    height: int
    width: int
    latent_frames: int
    time_factor: int

    @property
    def cells(self) -> int:
        return self.frames * self.height * self.width

    def fold(self, maps: Tensor) -> Tensor:
        """[B, R, cells] → [B, R, frames, height, width]."""
        return maps.view(*maps.shape[:2], self.frames, self.height, self.width)
