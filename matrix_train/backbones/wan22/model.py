"""Wan 2.2, text and image to video, 5B.

The first latent frame is given: it takes the place of the noised one, its tokens are at timestep 0, and what the model
says of it is no part of the loss. The ID map's latent stands on 48 new channels in that frame; they are zero after it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from matrix_train.backbones.encoders import Conditions, Encoders
from matrix_train.backbones.objective import Flow, Objective
from matrix_train.backbones.scene import Clip, Released, Scene
from matrix_train.backbones.wan.model import Wan, later
from matrix_train.backbones.wan.sampling import denoise
from matrix_train.backbones.wan.tiny import save_tiny
from matrix_train.backbones.wan22.encoders import VAE, Wan22Encoders

CHANNELS = 48
"""Of a latent."""


class FirstFrameGiven(Flow):
    """Flow matching of all frames but the first."""

    def error(self, output: Tensor, noised: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return super().error(output, noised, clean, noise, timesteps)[:, 1:]


class Wan22(Wan):
    """See the module."""

    name: ClassVar[str] = "wan22"
    encoders: ClassVar[type[Encoders]] = Wan22Encoders
    objective: ClassVar[type[Objective]] = FirstFrameGiven
    vae_space: ClassVar[int] = 16
    released: ClassVar[Released] = Released(
        recipe="wan22_ti2v_5b.yaml",
        config={
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "in_channels": CHANNELS,
            "out_channels": CHANNELS,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": 14336,
            "num_layers": 30,
            "image_dim": None,
        },
        clip=(81, 480, 832),
    )

    @classmethod
    def takes(cls, config: Mapping[str, Any]) -> bool:
        return config.get("image_dim") is None and config.get("out_channels") == CHANNELS

    @staticmethod
    def make_tiny(folder: Path, captions: Iterable[str], clip: Clip, max_tokens: int, seed: int = 0) -> None:  # noqa: ARG004
        """Any clip fits; its prompts are of 512 tokens as the real one's."""
        own = ("is_residual", "in_channels", "out_channels", "patch_size", "scale_factor_spatial")
        save_tiny(
            folder, captions, seed, more={}, vae={"z_dim": CHANNELS, **{name: VAE[name] for name in own}},
            transformer={"in_channels": CHANNELS, "out_channels": CHANNELS}, expand_timesteps=True,
        )  # fmt: skip

    @property
    def fps(self) -> float:
        return 24.0

    def condition_shapes(self, frames: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        _, *frame = self.latent_shape(frames, height, width)
        return {"image": (1, *frame), "id_map": (1, *frame), "prompt": self.prompt_shape}

    def forward(self, latents: Tensor, conditions: Conditions, timesteps: Tensor) -> Tensor:
        _, frames, _, height, width = latents.shape
        given = torch.cat([conditions["image"], latents[:, 1:]], dim=1)
        first = (height // 2) * (width // 2)
        expanded = timesteps[:, None].repeat(1, frames * first)
        expanded[:, :first] = 0
        return self._call(torch.cat([given, later(conditions["id_map"], frames)], dim=2), expanded, conditions)

    def denoise(self, encoders: Encoders, scene: Scene) -> Tensor:
        return denoise(self.model, encoders, scene, expand_timesteps=True)
