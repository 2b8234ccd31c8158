"""Wan 2.1, image to video, 14B.

The input is noise latent, then mask and latent of the first frame, then mask and latent of the ID map: 16, 4 + 16 and
4 + 16 channels, the last 20 of them new (paper §5; the released code does so too). CLIP's tokens of the first frame are
asked beside the text.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from matrix_train.backbones.encoders import Conditions, Encoders
from matrix_train.backbones.objective import Flow, Objective
from matrix_train.backbones.scene import Clip, Released, Scene
from matrix_train.backbones.wan.model import Wan
from matrix_train.backbones.wan.sampling import denoise
from matrix_train.backbones.wan.tiny import save_tiny
from matrix_train.backbones.wan21.encoders import Wan21Encoders

_vision_class: Any = CLIPVisionModel  # typed in part only

VISION_TOKENS = 257
"""CLIP's, of a picture of 224 × 224: one of the whole, 16 × 16 of its parts."""

VISION_WIDTH = 32
"""Of the tiny model."""


class Wan21(Wan):
    """See the module."""

    name: ClassVar[str] = "wan21"
    encoders: ClassVar[type[Encoders]] = Wan21Encoders
    objective: ClassVar[type[Objective]] = Flow
    vae_space: ClassVar[int] = 8
    released: ClassVar[Released] = Released(
        recipe="wan21_i2v_14b.yaml",
        config={
            "num_attention_heads": 40,
            "attention_head_dim": 128,
            "in_channels": 36,
            "out_channels": 16,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": 13824,
            "num_layers": 40,
            "image_dim": 1280,
            "added_kv_proj_dim": 5120,
        },
        clip=(81, 480, 832),
    )

    @classmethod
    def takes(cls, config: Mapping[str, Any]) -> bool:
        return config.get("image_dim") is not None

    @staticmethod
    def make_tiny(folder: Path, captions: Iterable[str], clip: Clip, max_tokens: int, seed: int = 0) -> None:  # noqa: ARG004
        """Any clip fits; its prompts are of 512 tokens as the real one's."""
        vision = CLIPVisionConfig(
            hidden_size=VISION_WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, patch_size=14,
            image_size=224,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            more = {"image_encoder": _vision_class(vision).eval(), "image_processor": CLIPImageProcessor()}
        save_tiny(
            folder, captions, seed, more=more, vae={"z_dim": 16},
            transformer={"in_channels": 36, "out_channels": 16, "image_dim": VISION_WIDTH, "added_kv_proj_dim": 128},
        )  # fmt: skip

    @property
    def fps(self) -> float:
        return 16.0

    def condition_shapes(self, frames: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        latent_frames, channels, *size = self.latent_shape(frames, height, width)
        config = self.model.config
        return {
            "frames": (latent_frames, config.in_channels - channels, *size),
            "vision": (VISION_TOKENS, config.image_dim),
            "prompt": self.prompt_shape,
        }

    def forward(self, latents: Tensor, conditions: Conditions, timesteps: Tensor) -> Tensor:
        return self._call(torch.cat([latents, conditions["frames"]], dim=2), timesteps, conditions)

    def denoise(self, encoders: Encoders, scene: Scene) -> Tensor:
        return denoise(self.model, encoders, scene, expand_timesteps=False)
