"""The frozen half of Wan 2.1: beside VAE and umT5, CLIP, which sees the first frame."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, UMT5EncoderModel

from matrix_train.attention.grid import Grid
from matrix_train.backbones.encoders import Conditions, Posterior
from matrix_train.backbones.wan.encoders import UMT5_XXL, WanEncoders
from matrix_train.backbones.wan.model import later
from matrix_train.backbones.wan.pipeline import MASK_CHANNELS

VIT_H = CLIPVisionConfig(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14,
    image_size=224, projection_dim=1024, hidden_act="gelu",
)  # fmt: skip
"""The image encoder of Wan 2.1."""

_image_processor: Any = CLIPImageProcessor()
"""With CLIP's own numbers, which are those of the released pipeline."""


class Wan21Encoders(WanEncoders):
    """A first frame is encoded as a clip whose other frames are grey."""

    reader_classes: ClassVar[Mapping[str, Any]] = {"text_encoder": UMT5EncoderModel, "image_encoder": CLIPVisionModel}

    @classmethod
    def released(cls) -> Self:
        readers = {"text_encoder": UMT5_XXL, "image_encoder": VIT_H}
        return cls.on_meta({}, readers, None, None, torch.bfloat16)

    @torch.no_grad()
    def image(self, image: Tensor, frames: int) -> Posterior:
        return self._encode(later(image[:, None], frames), *self.latent_scale())

    def read(self, image: Tensor, input_ids: Tensor) -> Conditions:
        """And `vision`."""
        return super().read(image, input_ids) | {"vision": self.vision(image)}

    def encode(self, video: Tensor, id_map: Tensor, input_ids: Tensor) -> dict[str, Tensor]:
        """And `vision`: what CLIP makes of the first frame."""
        return super().encode(video, id_map, input_ids) | {"vision": self.vision(video[:, 0])}

    @torch.no_grad()
    def vision(self, image: Tensor) -> Tensor:
        """CLIP's last hidden states but one [B, 257, 1280] of pictures uint8 [B, 3, H, W]."""
        encoder = self.readers["image_encoder"]
        pixels = _image_processor(images=image, return_tensors="pt")["pixel_values"]
        states = encoder(pixels.to(image.device, encoder.dtype), output_hidden_states=True).hidden_states
        seen: Tensor = states[-2]
        return seen

    def conditions(self, known: Mapping[str, Tensor], prompt: Tensor, grid: Grid) -> Conditions:  # noqa: ARG002
        """`frames`: mask and latents of first frame, then of ID map, [B, F, 40, H/8, W/8]; `vision`; `prompt`."""
        image = known["image"]
        batch, frames, _, height, width = image.shape
        mask = later(image.new_ones(batch, 1, MASK_CHANNELS, height, width), frames)
        joined = torch.cat([mask, image, mask, known["id_map"]], dim=2)
        return {"frames": joined, "vision": known["vision"], "prompt": prompt}
