"""The lattice on which a model's video tokens lie."""

from dataclasses import dataclass

from torch import Tensor

from matrix_train.errors import UserError


@dataclass(frozen=True)
class Grid:
    """The lattice of video tokens: `frames` × `height` × `width` cells.

    `latent_frames` is what the transformer must be given, padding for the temporal patch included. A token frame after
    the first stands for `time_factor` frames of the clip, a cell for `pixels` × `pixels` of them.
    """

    frames: int
    height: int
    width: int
    latent_frames: int
    time_factor: int
    pixels: int = 16
    text_keys: int | None = None
    """Keys of the attention in which video asks text, where it holds nothing else; None: text and video have one."""

    @property
    def cells(self) -> int:
        return self.frames * self.height * self.width

    def fold(self, maps: Tensor) -> Tensor:
        """[B, R, cells] → [B, R, frames, height, width]."""
        return maps.view(*maps.shape[:2], self.frames, self.height, self.width)

    @classmethod
    def of(
        cls,
        clip: tuple[int, int, int],
        *,
        pixels: int,
        vae_time: int,
        patch_time: int = 1,
        text_keys: int | None = None,
    ) -> "Grid":
        """Of a clip of so many frames, pixels high and wide. vae_time: frames of a latent frame after the first.

        UserError for a size that does not fit.
        """
        frames, height, width = clip
        if height % pixels or width % pixels or min(height, width) < pixels:
            raise UserError(f"data.height and data.width must be divisible by {pixels}, got {height}×{width}")
        if frames < 1 or (frames - 1) % vae_time:
            raise UserError(f"data.frames must be 1 more than a multiple of {vae_time}, got {frames}")
        tokens = -(-((frames - 1) // vae_time + 1) // patch_time)
        return cls(
            tokens, height // pixels, width // pixels, latent_frames=tokens * patch_time,
            time_factor=vae_time * patch_time, pixels=pixels, text_keys=text_keys,
        )  # fmt: skip
