"""Sampling with an ID map: diffusers' CogVideoX image-to-video pipeline with one more condition (paper §5).

    pipe = MatrixPipeline(**CogVideoXImageToVideoPipeline.from_pretrained(base).components)
    pipe = load_into(pipe, run)      # matrix_train.load_into: grows the transformer, loads what was trained
    video = pipe(image=first_frame, id_map=Image.open("clip.idmap.png"), prompt="A man pushes a cart.").frames[0]

Only what the transformer reads is changed. Scheduler, guidance, text, decoding and every argument are diffusers' own.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import CogVideoXImageToVideoPipeline
from torch import Tensor

from matrix_train.backbones.pipeline import TakesIdMap

LATENT_CHANNELS = 16
INPUT_CHANNELS = 3 * LATENT_CHANNELS
"""Noise latent, first-frame latent, ID-map latent."""

# diffusers is typed in part only.
_stock_pipeline: Any = CogVideoXImageToVideoPipeline


class MatrixPipeline(TakesIdMap, _stock_pipeline):  # type: ignore[misc]
    """`CogVideoXImageToVideoPipeline` whose transformer also reads the VAE latent of the first frame's ID map."""

    stock = _stock_pipeline

    @staticmethod
    def input_channels(config: Mapping[str, Any]) -> int:  # noqa: ARG004
        return INPUT_CHANNELS

    def prepare_latents(
        self,
        image: Tensor,
        batch_size: int = 1,
        num_channels_latents: int = LATENT_CHANNELS,  # noqa: ARG002
        num_frames: int = 13,
        height: int = 60,
        width: int = 90,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Starting noise [B, F, 16, H/8, W/8] and conditions [B, F, 32, H/8, W/8]: first frame, then ID map.

        diffusers takes the latent's channels for half of the transformer's, which holds for noise and image alone, so
        its count is put aside.
        """
        noise, image_latents = super().prepare_latents(
            image, batch_size, LATENT_CHANNELS, num_frames, height, width, dtype, device, generator, latents
        )
        encoded = self.encode_id_map(height, width).to(image_latents)
        # In front of the clip's own latent frames, diffusers repeats the first one to fill up CogVideoX 1.5's patches.
        first = 1 + image_latents.shape[1] - ((num_frames - 1) // self.vae_scale_factor_temporal + 1)
        id_latents = torch.zeros_like(image_latents)
        id_latents[:, :first] = encoded
        return noise, torch.cat([image_latents, id_latents], dim=2)

    def encode_id_map(self, height: int, width: int) -> Tensor:
        """The latent of the ID maps, scaled as the transformer reads it: [B, 1, 16, height/8, width/8].

        The mode of the VAE's posterior, not a sample: equal maps are equal conditions, and no random number is drawn.
        """
        pixels = self.id_map_pixels(height, width)
        pixels = pixels.to(self._execution_device, self.vae.dtype)
        latent: Tensor = self.vae.encode(pixels.unsqueeze(2)).latent_dist.mode().transpose(1, 2)
        scale: float = self.vae_scaling_factor_image
        return latent * (1 / scale if self.vae.config.invert_scale_latents else scale)
