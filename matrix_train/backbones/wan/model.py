"""What Wan 2.1 and 2.2 share as backbones: blocks, taps, LoRA, the transformer's call.

Video attends to itself (v2v) and asks 512 text tokens (v2t); text asks nothing, so there is no t2v.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers import transformer_wan
from torch import Tensor

from matrix_train.attention.grid import Grid
from matrix_train.attention.maps import Direction
from matrix_train.backbones.base import Backbone
from matrix_train.backbones.collector import Attends
from matrix_train.backbones.encoders import Conditions
from matrix_train.backbones.wan.attention import TEXT_TOKENS, TapProcessor
from matrix_train.backbones.wan.pipeline import WanMatrixPipeline, with_id_map

VAE_TIME = 4

# diffusers is typed in part only.
_stock_processor: Any = transformer_wan.WanAttnProcessor


class Wan(Backbone):
    """Over diffusers' `WanTransformer3DModel`."""

    model_class: ClassVar[Any] = WanTransformer3DModel
    blocks_in: ClassVar[str] = "blocks"
    attentions: ClassVar[Mapping[Direction, str]] = {"v2t": "attn2", "v2v": "attn1"}
    lora_targets: ClassVar[str] = r"attn[12]\.(to_q|to_k|to_v|to_out\.0)"
    input_layer: ClassVar[str] = "patch_embedding"
    vae_space: ClassVar[int]
    """Pixels across a latent."""

    @classmethod
    def input_channels(cls, config: Mapping[str, Any]) -> int:
        return with_id_map(config)

    @classmethod
    def sized(cls, heads: int, blocks: int, frames: int, height: int, width: int) -> dict[str, Any]:  # noqa: ARG003
        """Any clip fits. Text and feed-forward layer are narrower where the model is."""
        config = cls.released.config
        full = config["num_attention_heads"]
        found = {
            **config,
            "num_attention_heads": heads,
            "num_layers": blocks,
            "ffn_dim": config["ffn_dim"] * heads // full,
            "text_dim": config["text_dim"] if heads == full else 64,
        }
        if config["image_dim"] is not None:
            found["added_kv_proj_dim"] = heads * config["attention_head_dim"]
        return found

    @staticmethod
    def pipeline(pipe: Any) -> WanMatrixPipeline:
        made: Any = WanMatrixPipeline
        given = {name: pipe.config[name] for name in ("boundary_ratio", "expand_timesteps")}
        return made(**pipe.components, **given)  # type: ignore[no-any-return]

    @property
    def prompt_shape(self) -> tuple[int, int]:
        return TEXT_TOKENS, self.model.config.text_dim

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        latent_frames = self.grid(frames, height, width).latent_frames
        return latent_frames, self.model.config.out_channels, height // self.vae_space, width // self.vae_space

    def grid(self, frames: int, height: int, width: int) -> Grid:
        clip = (frames, height, width)
        return Grid.of(clip, pixels=2 * self.vae_space, vae_time=VAE_TIME, text_keys=TEXT_TOKENS)

    @staticmethod
    def stock_processor() -> Any:
        return _stock_processor()

    @staticmethod
    def tap_processor(tap: Attends) -> TapProcessor:
        return TapProcessor(tap)

    @staticmethod
    def lattice(config: Mapping[str, Any], states: Sequence[int]) -> tuple[int, int, int]:
        """states: [B, C, F, h, w]."""
        frames, height, width = (size // patch for size, patch in zip(states[2:], config["patch_size"], strict=True))
        return frames, height, width

    def words(self, conditions: Conditions) -> Tensor:
        """Padding is zero in a prompt's embeddings, and nothing else is."""
        return (conditions["prompt"] != 0).any(dim=-1)

    def _call(self, states: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """states: [B, F, C, h, w], all input channels. The output [B, F, C, h, w]."""
        output: Tensor = self.model(
            hidden_states=states.transpose(1, 2),
            timestep=timesteps,
            encoder_hidden_states=conditions["prompt"],
            encoder_hidden_states_image=conditions.get("vision"),
            return_dict=False,
        )[0]
        return output.transpose(1, 2)


def later(first: Tensor, frames: int) -> Tensor:
    """What stands in the first of so many frames, and zero after it: [B, 1, C, h, w] → [B, F, C, h, w]."""
    rest = first.new_zeros(len(first), frames - 1, *first.shape[2:])
    return torch.cat([first, rest], dim=1)
