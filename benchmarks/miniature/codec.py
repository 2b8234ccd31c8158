"""A linear video code with the interface of diffusers' video VAEs, fitted in closed form.

Patches of 4 frames × 8 × 8 pixels go to the first principal components of such patches; the first frame is a patch of
four equal ones, so that what stands still has one latent in every frame. A component is scaled by the inverse root of
its spread: full whitening would give the finest detail as much of the noise as the colours. Pixels are read off the
latents of a patch and its eight neighbours, by least squares: that smooths over the edges between patches.
"""

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

TIME, SPACE = 4, 8
PIXELS = TIME * SPACE * SPACE * 3
RIDGE = 1e-6
"""Of the regression, as a share of the mean square of a latent."""

# diffusers is typed in part only.
_model: Any = ModelMixin
_config: Any = ConfigMixin


class PatchCode(_model, _config):  # type: ignore[misc]
    """See the module. Videos are [B, 3, T, H, W] in −1 … 1, T one more than a multiple of 4."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 16,
        # What pipelines read off a VAE; the length of the first is how often it halves height and width.
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),  # noqa: ARG002
        temporal_compression_ratio: int = TIME,  # noqa: ARG002
        scaling_factor: float = 1.0,  # noqa: ARG002
        invert_scale_latents: bool = False,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(PIXELS))
        self.analysis = nn.Parameter(torch.zeros(PIXELS, latent_channels))
        self.synthesis = nn.Conv2d(latent_channels, PIXELS, 3, padding=1, padding_mode="replicate", bias=False)

    @torch.no_grad()
    def fit(self, videos: Tensor) -> None:
        """videos: [N, 3, T, H, W]."""
        patches = to_patches(videos)
        flat = patches.flatten(0, -2)
        self.mean.copy_(flat.mean(0))
        flat = flat - self.mean
        values, vectors = torch.linalg.eigh((flat.T @ flat / len(flat)).double())
        channels = self.analysis.shape[1]
        values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
        root = values.sqrt().sqrt()  # spread^½ of a component
        scaled = vectors / root * (channels / root.square().sum()).sqrt()
        self.analysis.copy_(scaled)
        latents = self._latents(patches).flatten(0, 1)  # [N·F, C, h, w]
        near = nn.functional.unfold(nn.functional.pad(latents, (1, 1, 1, 1), mode="replicate"), 3)
        rows = near.transpose(1, 2).flatten(0, 1).double()  # [patches, C·9]
        square = rows.T @ rows
        square += RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
        weights = torch.linalg.solve(square, rows.T @ flat.double())
        self.synthesis.weight.copy_(weights.T.unflatten(1, (channels, 3, 3)))

    def encode(self, x: Tensor) -> SimpleNamespace:
        """`latent_dist` [B, C, F, h, w], which is sure of itself."""
        mean = self._latents(to_patches(x)).transpose(1, 2)
        moments = torch.cat([mean, torch.zeros_like(mean)], dim=1)
        return SimpleNamespace(latent_dist=DiagonalGaussianDistribution(moments, deterministic=True))

    def decode(self, z: Tensor) -> SimpleNamespace:
        """`sample` [B, 3, T, H, W] of latents [B, C, F, h, w]."""
        batch, _, frames = z.shape[:3]
        made = self.synthesis(z.transpose(1, 2).flatten(0, 1)).permute(0, 2, 3, 1) + self.mean
        groups = made.unflatten(0, (batch, frames)).unflatten(-1, (TIME, SPACE, SPACE, 3))
        # b f h w t y x c → b c (f t) (h y) (w x)
        video = groups.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(2, 3).flatten(3, 4).flatten(4, 5)
        # The first four are one frame.
        return SimpleNamespace(sample=torch.cat([video[:, :, :TIME].mean(2, keepdim=True), video[:, :, TIME:]], dim=2))

    def enable_tiling(self) -> None:
        """It works patch by patch anyway."""

    disable_tiling = enable_tiling

    def _latents(self, patches: Tensor) -> Tensor:
        """[B, F, h, w, PIXELS] → [B, F, C, h, w]."""
        return ((patches - self.mean) @ self.analysis).movedim(-1, 2)


def to_patches(videos: Tensor) -> Tensor:
    """[B, 3, T, H, W] → [B, F, H / 8, W / 8, PIXELS], the first frame four times."""
    whole = torch.cat([videos[:, :, :1].expand(-1, -1, TIME - 1, -1, -1), videos], dim=2)
    split = whole.unflatten(4, (-1, SPACE)).unflatten(3, (-1, SPACE)).unflatten(2, (-1, TIME))
    # b c f t h y w x → b f h w (t y x c)
    return split.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)


@torch.no_grad()
def psnr(one: Tensor, other: Tensor) -> float:
    """dB of videos in −1 … 1."""
    return float(10 * torch.log10(4 / (one - other).square().mean()))
