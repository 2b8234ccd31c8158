"""The frozen half of Wan 2.2 (TI2V): a VAE of its own, of 16 pixels a latent."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import UMT5EncoderModel

from matrix_train.attention.grid import Grid
from matrix_train.backbones.encoders import Conditions
from matrix_train.backbones.wan.encoders import UMT5_XXL, WanEncoders

VAE: dict[str, Any] = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12, "out_channels": 12,
    "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip
"""The released VAE's arguments, but for the statistics of its latents."""


class Wan22Encoders(WanEncoders):
    """First frame and ID map are one latent frame each."""

    reader_classes: ClassVar[Mapping[str, Any]] = {"text_encoder": UMT5EncoderModel}

    @classmethod
    def released(cls) -> Self:
        return cls.on_meta(VAE, {"text_encoder": UMT5_XXL}, None, None, torch.bfloat16)

    def conditions(self, known: Mapping[str, Tensor], prompt: Tensor, grid: Grid) -> Conditions:  # noqa: ARG002
        """`image` and `id_map` [B, 1, 48, H/16, W/16]; `prompt`."""
        return {"image": known["image"], "id_map": known["id_map"], "prompt": prompt}
