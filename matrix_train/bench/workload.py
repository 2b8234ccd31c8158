"""The training step that is measured: random weights and data, the trainer's own model, loss, clipping and AdamW.

    work = Workload(BenchOptions())
    work.step("on")

One backbone and one optimiser serve all arms: `off` is plain LoRA training, `on` adds SGA and SPA as the trainer does
them, `dense` reads the same maps from attention matrices that are really formed (`matrix_train.attention.dense`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDPMScheduler
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from matrix_train.align.metrics import latent_masks
from matrix_train.attention.dense import dense_attend
from matrix_train.attention.kernels import AttentionKernel, attention_kernel
from matrix_train.attention.maps import Mode, attend
from matrix_train.attention.roles import RoleWeights, role_masks
from matrix_train.backbones import CogVideoX, trainable_parameters
from matrix_train.backbones.cogvideox.input_projection import LATENT_CHANNELS
from matrix_train.backbones.cogvideox.model import VAE_SPACE
from matrix_train.backbones.configured import install_training_taps, keep_frozen
from matrix_train.config import AlignConfig, load_config
from matrix_train.errors import UserError
from matrix_train.fit.inputs import Inputs
from matrix_train.fit.numerics import allow_tf32
from matrix_train.fit.step import AlignedModel
from matrix_train.plan.cost import planned_encoding
from matrix_train.plan.flops import costly_roles, count_flops, training_step

Arm = Literal["off", "on", "dense"]

COGVIDEOX_5B_I2V: dict[str, Any] = {
    "num_attention_heads": 48,
    "attention_head_dim": 64,
    "in_channels": 32,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "num_layers": 42,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "max_text_seq_length": 226,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": True,
}
ROLE_TOKENS = 8
"""Text tokens of a role: more than most captions give."""

# diffusers is typed in part only.
_scheduler_class: Any = CogVideoXDPMScheduler
_vae_class: Any = AutoencoderKLCogVideoX
_text_class: Any = T5EncoderModel


@dataclass(frozen=True)
class BenchOptions:
    """What to measure: by default the recipe's own settings. `None`: what suits the device, see `resolved`.

    blocks, heads: of the model; taps are at 7, 11 (SGA) and 12 (SPA) where there are 42 blocks, else at the last three.
    frames, height, width: of the clip in pixels. rounds: timed rounds of every arm, of which `dense` takes two.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    mode: Mode = "centred"
    supervise_stride: Literal[1, 2, 4, 8] = 1
    rounds: int | None = None
    dense: bool = True
    blocks: int | None = None
    heads: int | None = None
    frames: int = 49
    height: int = 480
    width: int = 720
    checkpointing: Literal["none", "full", "selective"] = "selective"
    compiled: bool = False
    attention: AttentionKernel = "auto"
    frozen: Literal["precision", "fp8"] = "precision"
    swapped: float = 0.0
    """Share of the blocks whose frozen weights lie in the host's memory."""
    seed: int = 0

    def resolved(self) -> "BenchOptions":
        """With every choice made. CPU: 1 head, 6 blocks, 3 rounds. CUDA: 48 heads, 42 blocks, 10 rounds.

        UserError for CUDA that is not there.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("bench: there is no CUDA device here: leave out --device, or give cpu")
        heads, blocks, rounds = (48, 42, 10) if device == "cuda" else (1, 6, 3)
        defaults = {"heads": heads, "blocks": blocks, "rounds": rounds}
        chosen = {name: getattr(self, name) or value for name, value in defaults.items()}
        return BenchOptions(**{**self.__dict__, **chosen, "device": device})

    @property
    def align(self) -> AlignConfig:
        """SGA on two blocks, SPA on a third, as in the paper's recipe."""
        if self.blocks is None or self.blocks < 3:
            raise UserError(f"bench: three blocks are tapped, so the model needs three at least, not {self.blocks}")
        sga, spa = ((7, 11), (12,)) if self.blocks == 42 else ((self.blocks - 3, self.blocks - 2), (self.blocks - 1,))
        return AlignConfig(
            sga_blocks=sga, spa_blocks=spa, attention_map=self.mode, supervise_stride=self.supervise_stride
        )

    @property
    def model_config(self) -> dict[str, Any]:
        """CogVideoX-5B-I2V at this clip's size, with these blocks and heads; narrower text where it is not the 5B."""
        return {
            **COGVIDEOX_5B_I2V,
            "num_attention_heads": self.heads,
            "num_layers": self.blocks,
            "sample_frames": self.frames,
            "sample_height": self.height // VAE_SPACE,
            "sample_width": self.width // VAE_SPACE,
            "text_embed_dim": 4096 if self.heads == 48 else 64,
        }

    @property
    def lora(self) -> tuple[int, int]:
        """Rank and alpha: the paper's on the 5B, in proportion to the width below it."""
        rank = max(2, 128 * (self.heads or 48) // 48)
        return rank, max(1, rank // 2)


def build_backbone(options: BenchOptions, device: torch.device | str) -> CogVideoX:
    """The model with LoRA, taps and checkpointing; bfloat16 on CUDA and meta, float32 on the CPU."""
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    backbone = CogVideoX.from_config(options.model_config, dtype, device)
    with torch.device(device):
        backbone.add_lora((*options.align.sga_blocks, *options.align.spa_blocks), *options.lora)
    install_training_taps(backbone, options.align)
    if options.checkpointing != "none":
        backbone.enable_checkpointing(options.checkpointing)
    keep_frozen(backbone, options.frozen == "fp8", int(options.swapped * (options.blocks or 0)))
    return backbone


def step_flops(options: BenchOptions) -> tuple[int, int]:
    """FLOPs of a step with losses off and on, on the meta device. Recomputed ones count again.

    Blocks without taps cost the same each: what a fourth adds to the three tapped ones is taken for every other.
    """
    return _step_flops(replace(options, compiled=False, attention="auto", frozen="precision", swapped=0.0))


@cache
def _step_flops(options: BenchOptions) -> tuple[int, int]:
    size = (options.frames, options.height, options.width)

    def count(blocks: int, aligned: bool) -> int:
        backbone = build_backbone(replace(options, blocks=blocks), "meta")
        roles = costly_roles(backbone, *size, ROLE_TOKENS) if aligned else None
        return count_flops(training_step(backbone, *size, roles, options.supervise_stride))

    three, four, aligned = count(3, False), count(4, False), count(3, True)
    off = three + ((options.blocks or 3) - 3) * (four - three)
    return off, off + aligned - three


def encoding_flops() -> dict[str, int]:
    """FLOPs that the recipe's step encodes beside the transformer, with `train.cache` and without: VAE and T5 of the
    5B, on the meta device."""
    unused: Any = None
    with torch.device("meta"):
        text = _text_class(
            T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
        )
        encoders = CogVideoX.encoders(_vae_class(), text, unused, unused)
    recipe = Path(__file__).parents[1] / "configs/cogvideox_5b_i2v.yaml"
    return {
        name: count_flops(planned_encoding(load_config(recipe, [f"train.cache={cache}"]), encoders))
        for name, cache in (("with_cache", "somewhere"), ("without_cache", "null"))
    }


def host_clock(device: torch.device) -> Callable[[], float]:
    """Wall time on CUDA; on the CPU this process's CPU time."""
    return time.process_time if device.type == "cpu" else time.perf_counter


class Workload:
    """The step, ready to run on the device of `options`, which are resolved."""

    def __init__(self, options: BenchOptions) -> None:
        self.options = options
        self.device = torch.device(options.device)
        allow_tf32(self.device)
        torch.manual_seed(options.seed)
        self.backbone = build_backbone(options, self.device)
        self.grid = self.backbone.grid(options.frames, options.height, options.width)
        self.roles: RoleWeights = costly_roles(
            self.backbone, options.frames, options.height, options.width, ROLE_TOKENS
        )
        scheduler = _scheduler_class()
        plain = AlignConfig(sga=0.0, spa=0.0)
        self.models = {
            "off": AlignedModel(self.backbone, self.grid, plain, scheduler).to(self.device),
            "on": AlignedModel(self.backbone, self.grid, options.align, scheduler).to(self.device),
        }
        self.models["dense"] = self.models["on"]
        decoders = dict(self.models["on"].decoders.items())
        self.parameters = list(trainable_parameters(self.backbone, decoders).values())
        # As the trainer keeps them.
        for parameter in self.parameters:
            parameter.data = parameter.data.float()
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5)
        self.inputs = self._inputs()
        if options.compiled:
            self.backbone.compile_blocks()

    def step(self, arm: Arm) -> None:
        """Forward, backward, clipping, AdamW."""
        with self._reading(arm), attention_kernel(self.options.attention):
            loss, _ = self.models[arm](self.inputs)
            torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def clock(self) -> float:
        """Seconds, once the device is done, by `host_clock`."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return host_clock(self.device)()

    @property
    def tokens(self) -> int:
        """N: text and video."""
        return self.roles.text_length + self.roles.video_length

    def masks(self, stride: int) -> Tensor:
        """Masks of subject, verb and object at a stride, [1, 3, T, H/s, W/s]: two boxes that move."""
        frames, height, width = self.options.frames, self.options.height, self.options.width
        boxes = torch.zeros(1, 2, frames, height, width, dtype=torch.uint8, device=self.device)
        for t in range(frames):
            shift = (width // 2) * t // frames
            boxes[0, 0, t, height // 4 : height // 2, shift : shift + width // 4] = 1
            boxes[0, 1, t, height // 2 :, width // 2 :] = 1
        return role_masks(boxes, torch.tensor([[[0, 1]]], device=self.device), stride)

    def _inputs(self) -> Inputs:
        options, grid = self.options, self.grid
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        size = (1, grid.latent_frames, LATENT_CHANNELS, options.height // VAE_SPACE, options.width // VAE_SPACE)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, device=self.device).to(dtype)

        conditions = torch.cat([noise(*size), noise(*size)], dim=2)
        conditions[:, 1:] = 0
        config = options.model_config
        return Inputs(
            clean=noise(*size),
            conditions=conditions,
            noise=noise(*size),
            timesteps=torch.tensor([500], device=self.device),
            prompt=noise(1, config["max_text_seq_length"], config["text_embed_dim"]),
            roles=self.roles,
            masks=self.masks(options.supervise_stride),
            cells=latent_masks(self.masks(1), grid.height, grid.width, grid.time_factor),
            present={"sga": self.roles.text.present, "spa": self.roles.video.present},
        )

    @contextmanager
    def _reading(self, arm: Arm) -> Iterator[None]:
        self.backbone.collector.read = dense_attend if arm == "dense" else attend
        try:
            yield
        finally:
            self.backbone.collector.read = attend
