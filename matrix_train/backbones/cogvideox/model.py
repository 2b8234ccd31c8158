"""CogVideoX 1.0 and 1.5, 2B and 5B, text- or image-to-video, as a backbone for SGA and SPA.

    backbone = CogVideoX.load("THUDM/CogVideoX-5b-I2V", dtype=torch.bfloat16)
    backbone.install_taps({7: ["v2t"], 11: ["v2t"], 12: ["v2v"]}, mode="logits")
    backbone.add_lora(blocks=(7, 11, 12), rank=128, alpha=64)
    prediction, maps = backbone.predict(latents, conditions, timesteps, roles)

The input is noise latent, first-frame latent and ID-map latent on channels, 16 each (paper §5, App. D). The input
projection grows to 48 channels: old weights copied, new ones zero, so that step 0 is the stock model bit for bit.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models import attention_processor, embeddings
from diffusers.pipelines.cogvideo import pipeline_cogvideox_image2video
from torch import Tensor

from matrix_train.attention.grid import Grid
from matrix_train.attention.maps import Direction, Layout
from matrix_train.backbones.base import Backbone
from matrix_train.backbones.cogvideox.encoders import CogVideoXEncoders
from matrix_train.backbones.cogvideox.pipeline import INPUT_CHANNELS, LATENT_CHANNELS, MatrixPipeline
from matrix_train.backbones.cogvideox.released import RELEASED, sized
from matrix_train.backbones.cogvideox.sampling import denoise
from matrix_train.backbones.cogvideox.tiny import make_tiny_pipeline
from matrix_train.backbones.collector import Attends
from matrix_train.backbones.encoders import Conditions, Encoders
from matrix_train.backbones.objective import Objective, VPrediction
from matrix_train.backbones.scene import Clip, Released, Scene
from matrix_train.errors import UserError

VAE_SPACE, VAE_TIME = 8, 4
OFS = 2.0
"""The constant that diffusers' 1.5 image-to-video pipeline feeds to the `ofs` embedding."""

# diffusers is typed in part only.
_stock_processor: Any = attention_processor.CogVideoXAttnProcessor2_0
_apply_rotary_emb: Any = embeddings.apply_rotary_emb
_rotary_table: Any = embeddings.get_3d_rotary_pos_embed
_grid_crop: Any = pipeline_cogvideox_image2video.get_resize_crop_region_for_grid


class CogVideoX(Backbone):
    """Over diffusers' `CogVideoXTransformer3DModel`. Text and video have one attention, text first."""

    name: ClassVar[str] = "cogvideox"
    model_class: ClassVar[Any] = CogVideoXTransformer3DModel
    encoders: ClassVar[type[Encoders]] = CogVideoXEncoders
    objective: ClassVar[type[Objective]] = VPrediction
    released: ClassVar[Released] = RELEASED
    blocks_in: ClassVar[str] = "transformer_blocks"
    attentions: ClassVar[Mapping[Direction, str]] = {"v2t": "attn1", "v2v": "attn1", "t2v": "attn1"}
    lora_targets: ClassVar[str] = r"attn1\.(to_q|to_k|to_v|to_out\.0)"
    input_layer: ClassVar[str] = "patch_embed.proj"
    prompts_together: ClassVar[bool] = True

    @classmethod
    def takes(cls, config: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return True

    @classmethod
    def input_channels(cls, config: Mapping[str, Any]) -> int:  # noqa: ARG003
        return INPUT_CHANNELS

    @classmethod
    def sized(cls, heads: int, blocks: int, frames: int, height: int, width: int) -> dict[str, Any]:
        return sized(heads, blocks, frames, height, width)

    @staticmethod
    def make_tiny(folder: Path, captions: Iterable[str], clip: Clip, max_tokens: int, seed: int = 0) -> None:
        make_tiny_pipeline(folder, captions, *clip, max_tokens, seed)

    @staticmethod
    def pipeline(pipe: Any) -> MatrixPipeline:
        return MatrixPipeline(**pipe.components)

    @property
    def version(self) -> Literal["1.0", "1.5"]:
        """1.5 joins two latent frames in a token (a linear patch embedding); 1.0 does not (a convolution)."""
        return "1.0" if self.model.config.patch_size_t is None else "1.5"

    @property
    def size(self) -> Literal["2B", "5B"]:
        """5B turns q and k by position (RoPE); 2B adds fixed position embeddings to the tokens instead."""
        return "5B" if self.model.config.use_rotary_positional_embeddings else "2B"

    @property
    def prompt_shape(self) -> tuple[int, int]:
        return self.model.config.max_text_seq_length, self.model.config.text_embed_dim

    @property
    def fps(self) -> float:
        return 8.0 if self.version == "1.0" else 16.0

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        latent_frames = self.grid(frames, height, width).latent_frames
        return latent_frames, LATENT_CHANNELS, height // VAE_SPACE, width // VAE_SPACE

    def condition_shapes(self, frames: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
        latent_frames, channels, *size = self.latent_shape(frames, height, width)
        return {"frames": (latent_frames, INPUT_CHANNELS - channels, *size), "prompt": self.prompt_shape}

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """UserError for a size that does not fit: diffusers checks for multiples of 8 and fails later, and for another
        length it puts fixed position embeddings in the place of learned ones without a word.
        """
        config = self.model.config
        temporal = config.patch_size_t or 1
        grid = Grid.of((frames, height, width), pixels=2 * VAE_SPACE, vae_time=VAE_TIME, patch_time=temporal)
        native = (config.sample_frames, config.sample_height * VAE_SPACE, config.sample_width * VAE_SPACE)
        if config.use_learned_positional_embeddings and (frames, height, width) != native:
            want, got = ("×".join(map(str, shape)) for shape in (native, (frames, height, width)))
            raise UserError(f"this model has learned positions and takes clips of {want} only, got {got}")
        return grid

    @staticmethod
    def stock_processor() -> Any:
        return _stock_processor()

    @staticmethod
    def tap_processor(tap: Attends) -> "_TapProcessor":
        return _TapProcessor(tap)

    @staticmethod
    def lattice(config: Mapping[str, Any], states: Sequence[int]) -> tuple[int, int, int]:
        """states: [B, F, C, h, w]."""
        patch = config["patch_size"]
        return states[1] // (config["patch_size_t"] or 1), states[3] // patch, states[4] // patch

    def forward(self, latents: Tensor, conditions: Conditions, timesteps: Tensor) -> Tensor:
        """latents: [B, F, 16, H/8, W/8]. conditions: `frames` [B, F, 32, H/8, W/8] and `prompt` [B, L, text width]."""
        ofs = None if self.model.config.ofs_embed_dim is None else latents.new_full((1,), OFS)
        _, frames, _, height, width = latents.shape
        rotary = self._rotary_tables(frames, height // 2, width // 2, latents.device) if self.size == "5B" else None
        output: Tensor = self.model(
            hidden_states=torch.cat([latents, conditions["frames"]], dim=2),
            encoder_hidden_states=conditions["prompt"],
            timestep=timesteps,
            ofs=ofs,
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        return output

    def denoise(self, encoders: Encoders, scene: Scene) -> Tensor:
        latents = denoise(self.model, encoders, scene)
        # In front of the clip's own latent frames stand those that fill up 1.5's patches.
        return latents[:, latents.shape[1] - ((scene.frames - 1) // VAE_TIME + 1) :]

    def _rotary_tables(self, frames: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """RoPE tables [cells, d], as diffusers' pipelines make them: 1.0 stretches the trained grid, 1.5 slices."""
        config = self.model.config
        base_height, base_width = config.sample_height // 2, config.sample_width // 2
        if self.version == "1.0":
            layout = {"crops_coords": _grid_crop((height, width), base_width, base_height), "temporal_size": frames}
        else:
            layout = {
                "crops_coords": None,
                "temporal_size": frames // config.patch_size_t,
                "grid_type": "slice",
                "max_size": (base_height, base_width),
            }
        cos, sin = _rotary_table(config.attention_head_dim, grid_size=(height, width), device=device, **layout)
        return cos, sin


class _TapProcessor:
    """diffusers' CogVideoX attention, step by step; the maps are read from the final q and k, after RoPE."""

    def __init__(self, tap: Attends) -> None:
        self.tap = tap

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        if attention_mask is not None:
            raise ValueError("CogVideoX attends without a mask; maps under a mask are not defined here")
        text = encoder_hidden_states.shape[1]
        joint = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        q, k, v = (
            project(joint).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        if attn.norm_q is not None:
            q, k = attn.norm_q(q), attn.norm_k(k)
        if image_rotary_emb is not None:
            q[:, :, text:] = _apply_rotary_emb(q[:, :, text:], image_rotary_emb)
            k[:, :, text:] = _apply_rotary_emb(k[:, :, text:], image_rotary_emb)
        out = self.tap.attend(q, k, v, Layout.joint(text, hidden_states.shape[1]))
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        return out[:, text:], out[:, :text]
