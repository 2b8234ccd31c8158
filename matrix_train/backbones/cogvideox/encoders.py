"""The frozen half of CogVideoX: 3D causal VAE, T5, and what the transformer is conditioned on."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXDPMScheduler
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from matrix_train.attention.grid import Grid
from matrix_train.backbones.encoders import Conditions, Encoders


class CogVideoXEncoders(Encoders):
    """3D causal VAE and T5."""

    vae_class = AutoencoderKLCogVideoX
    reader_classes: ClassVar[Mapping[str, Any]] = {"text_encoder": T5EncoderModel}
    tokenizer_class = T5Tokenizer
    scheduler_classes = (CogVideoXDPMScheduler, CogVideoXDDIMScheduler)
    prediction_type = "v_prediction"
    image_noise = True

    @classmethod
    def released(cls) -> Self:
        text = T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
        return cls.on_meta({}, {"text_encoder": text}, None, None, torch.bfloat16)

    @torch.no_grad()
    def prompt(self, input_ids: Tensor) -> Tensor:
        """Padding is not masked, as CogVideoX was trained."""
        embeddings: Tensor = self.readers["text_encoder"](input_ids)[0]
        return embeddings

    def latent_scale(self) -> tuple[Any, Any]:
        return self.vae.config.scaling_factor, 0.0

    def condition_scale(self) -> tuple[Any, Any]:
        """CogVideoX 1.5 divides conditions by the scaling factor where everything else is multiplied; so must we."""
        scale, shift = self.latent_scale()
        return 1.0 / scale if self.vae.config.invert_scale_latents else scale, shift

    def repeated(self) -> tuple[torch.nn.Module, ...]:
        """Tile by tile and a few frames at a time; what must be kept between those goes in and comes out."""
        return self.vae.encoder, self.vae.decoder

    @torch.no_grad()
    def decode(self, latents: Tensor, tiled: bool = True) -> Tensor:
        """Also of an even number of latent frames, as 13 frames have.

        diffusers' decoder takes them in pairs, and knows by the odd one in front that the clip begins there: without,
        it makes four frames of the first too, 16 of 13. So the last one goes in twice; the decoder is causal, and what
        the double adds at the end is left out.
        """
        if latents.shape[1] % 2:
            return super().decode(latents, tiled)
        odd = torch.cat([latents, latents[:, -1:]], dim=1)
        return super().decode(odd, tiled)[:, :, : -self.vae.config.temporal_compression_ratio]

    def clean(self, latents: Tensor, grid: Grid) -> Tensor:
        """CogVideoX 1.5 takes frames in pairs: the first one again, in front, where they are odd."""
        lead = grid.latent_frames - latents.shape[1]
        return torch.cat([latents[:, :1].expand(-1, lead, -1, -1, -1), latents], dim=1) if lead else latents

    def conditions(self, known: Mapping[str, Tensor], prompt: Tensor, grid: Grid) -> Conditions:
        """`frames`: first frame and ID map on channels, [B, F, 32, H/8, W/8], zero after the first frame and its
        doubles; `prompt`."""
        first = torch.cat([known["image"], known["id_map"]], dim=2)
        rest = first.new_zeros(len(first), known["mean"].shape[1] - 1, *first.shape[2:])
        return {"frames": self.clean(torch.cat([first, rest], dim=1), grid), "prompt": prompt}

    def timesteps(self, drawn: Tensor) -> Tensor:
        steps: int = self.scheduler.config.num_train_timesteps
        return (drawn * steps).long()
