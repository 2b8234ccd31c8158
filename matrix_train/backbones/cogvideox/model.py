"""CogVideoX 1.0 and 1.5, 2B and 5B, text- or image-to-video, as a backbone for SGA and SPA.

    backbone = CogVideoX.load("THUDM/CogVideoX-5b-I2V", dtype=torch.bfloat16)
    backbone.install_taps({7: ["v2t"], 11: ["v2t"], 12: ["v2v"]}, mode="logits")
    backbone.add_lora(blocks=(7, 11, 12), rank=128, alpha=64)
    prediction, maps = backbone.predict(latents, conditions, prompt, timesteps, roles)

The input is noise latent, first-frame latent and ID-map latent on channels, 16 each (paper §5, App. D). The input
projection grows to 48 channels: old weights copied, new ones zero, so that step 0 is the stock model bit for bit.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models import attention_processor, embeddings
from diffusers.pipelines.cogvideo import pipeline_cogvideox_image2video
from numpy.typing import NDArray
from peft import LoraConfig
from torch import Tensor, nn

from matrix_train.attention.grid import Grid
from matrix_train.attention.maps import Direction, Kernel, MapScale, Mode
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones.base import Checkpointing, MapCollector, MapKey, Scene
from matrix_train.backbones.cogvideox.encoders import CogVideoXEncoders
from matrix_train.backbones.cogvideox.input_projection import LATENT_CHANNELS, grow_input
from matrix_train.backbones.cogvideox.sampling import sample
from matrix_train.backbones.cogvideox.tiny import make_tiny_pipeline
from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.objective import Objective, VPrediction
from matrix_train.backbones.pretrained import read_config, read_weights
from matrix_train.errors import UserError

VAE_SPACE = 8
OFS = 2.0
"""The constant that diffusers' 1.5 image-to-video pipeline feeds to the `ofs` embedding."""

DEFAULT_TAPS: dict[int, tuple[Direction, ...]] = {7: ("v2t",), 11: ("v2t",), 12: ("v2v",)}
"""The influential blocks of CogVideoX-5B (paper §4)."""

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")

# diffusers is typed in part only.
_model_class: Any = CogVideoXTransformer3DModel
_stock_processor: Any = attention_processor.CogVideoXAttnProcessor2_0
_apply_rotary_emb: Any = embeddings.apply_rotary_emb
_rotary_table: Any = embeddings.get_3d_rotary_pos_embed
_grid_crop: Any = pipeline_cogvideox_image2video.get_resize_crop_region_for_grid


class CogVideoX:
    """`matrix_train.backbones.base.Backbone` over diffusers' `CogVideoXTransformer3DModel`.

    Takes a `CogVideoXTransformer3DModel` as it is, freezes it, grows its input projection and makes that trainable.
    """

    name: ClassVar[str] = "cogvideox"
    block_class: ClassVar[str] = "CogVideoXBlock"
    encoders: ClassVar[type[Encoders]] = CogVideoXEncoders
    objective: ClassVar[type[Objective]] = VPrediction

    def __init__(self, model: Any) -> None:
        self.model = model
        self.collector = MapCollector()
        self._plan: dict[int, tuple[Direction, ...]] = {}
        self.model.requires_grad_(False)
        grow_input(self.model)

    @classmethod
    def load(cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None) -> Self:
        """From a diffusers checkpoint: a pipeline folder or repository with a `transformer` subfolder. UserError."""
        return cls(read_weights(_model_class, name_or_path, "transformer", revision, torch_dtype=dtype))

    @classmethod
    def read_config(cls, name_or_path: str, revision: str | None = None) -> dict[str, Any]:
        """The arguments of a checkpoint's transformer, for `from_config`; no weights are read. UserError."""
        found = read_config(_model_class, name_or_path, "transformer", revision)
        known = inspect.signature(_model_class.__init__).parameters
        return {name: value for name, value in found.items() if name in known}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Self:
        """Random weights. config: the arguments of `CogVideoXTransformer3DModel`."""
        with torch.device(device):
            model = _model_class(**config)
        # Not `model.to`: diffusers logs advice about checkpoints there.
        return cls(nn.Module.to(model, dtype))

    @staticmethod
    def make_tiny(
        folder: Path, captions: Iterable[str], frames: int, height: int, width: int, max_tokens: int, seed: int = 0
    ) -> None:
        make_tiny_pipeline(folder, captions, frames, height, width, max_tokens, seed)

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

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Token lattice of a clip of `frames` frames, height × width pixels.

        UserError for a size that does not fit: diffusers checks for multiples of 8 and fails later, and for another
        length it puts fixed position embeddings in the place of learned ones without a word.
        """
        config = self.model.config
        if height % 16 or width % 16 or min(height, width) < 16:
            raise UserError(f"data.height and data.width must be divisible by 16, got {height}×{width}")
        if frames % 4 != 1 or frames < 1:
            raise UserError(f"data.frames must be 1 more than a multiple of 4, got {frames}")
        native = (config.sample_frames, config.sample_height * VAE_SPACE, config.sample_width * VAE_SPACE)
        if config.use_learned_positional_embeddings and (frames, height, width) != native:
            want, got = ("×".join(map(str, shape)) for shape in (native, (frames, height, width)))
            raise UserError(f"this model has learned positions and takes clips of {want} only, got {got}")
        temporal = config.patch_size_t or 1
        tokens = -(-((frames - 1) // 4 + 1) // temporal)
        return Grid(tokens, height // 16, width // 16, latent_frames=tokens * temporal, time_factor=4 * temporal)

    def install_taps(
        self,
        plan: Mapping[int, Sequence[Direction]] = DEFAULT_TAPS,
        mode: Mode = "logits",
        kernel: Kernel = "auto",
        scale: MapScale = "heads",
    ) -> None:
        """Our processor on these blocks, diffusers' own on all others; a later call replaces the plan.

        UserError for a block that does not exist.
        """
        self._check(plan)
        blocks = self.model.transformer_blocks
        for block in self._plan.keys() - plan.keys():
            blocks[block].attn1.set_processor(_stock_processor())
        self._plan = {block: tuple(directions) for block, directions in plan.items()}
        for block, directions in self._plan.items():
            blocks[block].attn1.set_processor(_TapProcessor(self.collector, block, directions, mode, kernel, scale))

    def add_lora(self, blocks: Sequence[int] = (7, 11, 12), rank: int = 128, alpha: int = 64) -> None:
        """LoRA on q, k, v and out of the attention of these blocks only; its B matrices start at zero.

        UserError for a block that does not exist.
        """
        self._check(blocks)
        chosen, targets = "|".join(map(str, blocks)), "|".join(LORA_TARGETS).replace(".", r"\.")
        pattern = rf"transformer_blocks\.({chosen})\.attn1\.({targets})"
        self.model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern))
        # peft freezes everything that is not an adapter.
        self.model.patch_embed.proj.requires_grad_(True)

    def enable_checkpointing(self, kind: Checkpointing = "full") -> None:
        """Non-reentrant, over every block, with each block's roles taken along.

        `selective` keeps each block's attention output and log-sum-exp (5B, 49 × 480 × 720, bf16: 4.7 GB in all) and
        forms the rest again: the attention kernel is most of what `full` would run a second time.
        """
        self.collector.kind = kind
        self.model.enable_gradient_checkpointing(self.collector.checkpoint)

    def compile_blocks(self, backend: str | Callable[..., Any] = "inductor", leave: Collection[int] = ()) -> None:
        """Compiles the blocks without taps, once for all of them. After `install_taps` and `add_lora`.

        Rounding differs from the stock model's. Tapped blocks stay as they are: they leave maps behind on their way. So
        do those in `leave`, which get taps at some time later.
        """
        blocks = self.model.transformer_blocks
        eager = {*self._plan, *leave}
        self.collector.compile([block for i, block in enumerate(blocks) if i not in eager], backend)

    def predict(
        self, latents: Tensor, conditions: Tensor, prompt: Tensor, timesteps: Tensor, roles: RoleWeights | None = None
    ) -> tuple[Tensor, dict[MapKey, Tensor]]:
        """The transformer's output and the role maps of the tapped blocks.

        latents: [B, F, 16, H/8, W/8], noised; F as in `Grid.latent_frames`. conditions: [B, F, 32, H/8, W/8], the
        first-frame latent and the ID-map latent, zero after the first frame. prompt: [B, L, text width]. timesteps:
        [B]. Returns [B, F, 16, H/8, W/8] and {(block, direction): [B, R, cells]}, empty without roles. RuntimeError
        under a checkpointing function that would lose the roles or the maps' gradient.
        """
        model = self.model
        # Bound methods are made afresh on each access, hence != and not `is not`.
        foreign = model.gradient_checkpointing and model._gradient_checkpointing_func != self.collector.checkpoint
        if roles is not None and foreign:
            raise RuntimeError("foreign checkpointing loses the roles: call the backbone's enable_checkpointing()")
        ofs = None if model.config.ofs_embed_dim is None else latents.new_full((1,), OFS)
        _, frames, _, height, width = latents.shape
        rotary = self._rotary_tables(frames, height // 2, width // 2, latents.device) if self.size == "5B" else None

        def forward() -> Tensor:
            output: Tensor = model(
                hidden_states=torch.cat([latents, conditions], dim=2),
                encoder_hidden_states=prompt,
                timestep=timesteps,
                ofs=ofs,
                image_rotary_emb=rotary,
                return_dict=False,
            )[0]
            return output

        if roles is None:
            return forward(), {}
        expected = {(block, direction) for block, directions in self._plan.items() for direction in directions}
        return self.collector.collect(roles, expected, forward)

    def sample(self, encoders: Encoders, scene: Scene) -> NDArray[np.float32]:
        return sample(self.model, encoders, scene)

    def trainable(self) -> dict[str, nn.Parameter]:
        """LoRA matrices and the whole input projection."""
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if ".lora_A." in name or ".lora_B." in name or name.startswith("patch_embed.proj.")
        }

    def _check(self, blocks: Iterable[int]) -> None:
        last = len(self.model.transformer_blocks) - 1
        for block in blocks:
            if not 0 <= block <= last:
                raise UserError(f"block {block} does not exist: this model has blocks 0 to {last}")

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

    def __init__(
        self,
        collector: MapCollector,
        block: int,
        directions: tuple[Direction, ...],
        mode: Mode,
        kernel: Kernel,
        scale: MapScale,
    ) -> None:
        self.collector = collector
        self.block, self.directions, self.mode, self.kernel, self.scale = block, directions, mode, kernel, scale

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
        out = self.collector.attend(q, k, v, self.block, self.directions, self.mode, self.kernel, self.scale)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        return out[:, text:], out[:, :text]
