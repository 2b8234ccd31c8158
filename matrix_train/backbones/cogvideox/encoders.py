"""The frozen half of CogVideoX: 3D causal VAE, T5, and what the transformer is conditioned on."""

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from torch import Tensor
from transformers import T5EncoderModel, T5Tokenizer

from matrix_train.attention.grid import Grid
from matrix_train.backbones.encoders import Encoders


class CogVideoXEncoders(Encoders):
    """3D causal VAE and T5."""

    vae_class = AutoencoderKLCogVideoX
    text_class = T5EncoderModel
    tokenizer_class = T5Tokenizer
    scheduler_classes = (CogVideoXDPMScheduler, CogVideoXDDIMScheduler)
    prediction_type = "v_prediction"

    def condition_scale(self) -> float:
        """CogVideoX 1.5 divides conditions by the scaling factor where everything else is multiplied; so must we."""
        scale = super().condition_scale()
        return 1.0 / scale if self.vae.config.invert_scale_latents else scale

    def repeated(self) -> tuple[torch.nn.Module, ...]:
        """Tile by tile and a few frames at a time; what must be kept between those goes in and comes out."""
        return self.vae.encoder, self.vae.decoder

    def clean(self, latents: Tensor, grid: Grid) -> Tensor:
        """CogVideoX 1.5 takes frames in pairs: the first one again, in front, where they are odd."""
        lead = grid.latent_frames - latents.shape[1]
        return torch.cat([latents[:, :1].expand(-1, lead, -1, -1, -1), latents], dim=1) if lead else latents

    def conditions(self, image: Tensor, id_map: Tensor, frames: int, grid: Grid) -> Tensor:
        """First frame and ID map on channels, [B, F, 32, H/8, W/8]: zero after the first frame and its doubles."""
        first = torch.cat([image, id_map], dim=2)
        rest = first.new_zeros(len(first), frames - 1, *first.shape[2:])
        return self.clean(torch.cat([first, rest], dim=1), grid)
