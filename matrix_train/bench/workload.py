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
from torch import Tensor

from matrix_train.align.metrics import latent_masks
from matrix_train.attention.dense import dense_attend
from matrix_train.attention.kernels import AttentionKernel, attention_kernel
from matrix_train.attention.maps import Mode, attend
from matrix_train.attention.roles import RoleWeights, role_masks
from matrix_train.backbones import BACKBONES, Backbone, backbone_named, trainable_parameters
from matrix_train.backbones.configured import install_training_taps, keep_frozen
from matrix_train.config import AlignConfig, Config, load_config
from matrix_train.errors import UserError
from matrix_train.fit.inputs import Inputs
from matrix_train.fit.numerics import allow_tf32
from matrix_train.fit.step import AlignedModel
from matrix_train.plan.cost import planned_encoding
from matrix_train.plan.flops import costly_roles, count_flops, training_step

Arm = Literal["off", "on", "dense"]

ROLE_TOKENS = 8
"""Text tokens of a role: more than most captions give."""

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class BenchOptions:
    """What to measure: by default the recipe's own settings. `None`: what suits the device, see `resolved`.

    blocks, heads: of the model; taps are the recipe's where all blocks are there, else at the last ones. frames,
    height, width: of the clip in pixels. rounds: timed rounds of every arm, of which `dense` takes two.
    """

    backbone: str = next(iter(BACKBONES))
    device: Literal["auto", "cpu", "cuda"] = "auto"
    mode: Mode = "centred"
    supervise_stride: Literal[1, 2, 4, 8] = 1
    rounds: int | None = None
    dense: bool = True
    blocks: int | None = None
    heads: int | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    checkpointing: Literal["none", "full", "selective"] = "selective"
    compiled: bool | None = None
    attention: AttentionKernel = "auto"
    frozen: Literal["precision", "fp8"] = "precision"
    swapped: float = 0.0
    """Share of the blocks whose frozen weights lie in the host's memory."""
    seed: int = 0

    def resolved(self) -> "BenchOptions":
        """With every choice made, of the recipe's clip. CPU: 1 head, 6 blocks, 3 rounds, nothing compiled. CUDA: the
        whole model, 10 rounds, compiled where the recipe is.

        UserError for CUDA that is not there, and for a backbone that there is none of.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("bench: there is no CUDA device here: leave out --device, or give cpu")
        (heads, blocks), rounds = (self.whole_size, 10) if device == "cuda" else ((1, 6), 3)
        frames, height, width = self.kind.released.clip
        defaults = {
            "heads": heads, "blocks": blocks, "rounds": rounds, "frames": frames, "height": height, "width": width,
        }  # fmt: skip
        compiled = self.compiled if self.compiled is not None else device == "cuda" and self.recipe.model.compile
        chosen = {name: getattr(self, name) or value for name, value in defaults.items()}
        return BenchOptions(**{**self.__dict__, **chosen, "device": device, "compiled": compiled})

    @property
    def kind(self) -> type[Backbone]:
        return backbone_named(self.backbone)

    @property
    def recipe(self) -> Config:
        """Of the released model."""
        return load_config(CONFIGS / self.kind.released.recipe, [])

    @property
    def whole_size(self) -> tuple[int, int]:
        """Heads and blocks of the released model."""
        config = self.kind.released.config
        return config["num_attention_heads"], config["num_layers"]

    @property
    def whole(self) -> "BenchOptions":
        """The same of the released model and its recipe's clip."""
        heads, blocks = self.whole_size
        return replace(self, heads=heads, blocks=blocks, frames=None, height=None, width=None).resolved()

    @property
    def clip(self) -> tuple[int, int, int]:
        """Frames, height and width of resolved options."""
        assert self.frames and self.height and self.width
        return self.frames, self.height, self.width

    @property
    def align(self) -> AlignConfig:
        """As many blocks with SGA and with SPA as in the recipe: its own where there are all, else the last ones."""
        if self.blocks is None or self.blocks < 3:
            raise UserError(f"bench: three blocks are tapped, so the model needs three at least, not {self.blocks}")
        recipe = self.recipe.align
        sga, spa = recipe.sga_blocks, recipe.spa_blocks
        if self.blocks != self.whole_size[1]:
            # A block may be of both families where there are fewer than the recipe taps.
            last = range(max(0, self.blocks - len(sga) - len(spa)), self.blocks)
            sga, spa = tuple(last[: len(sga)]), tuple(last[-len(spa) :])
        return AlignConfig(
            sga_blocks=sga, spa_blocks=spa, attention_map=self.mode, supervise_stride=self.supervise_stride
        )

    @property
    def model_config(self) -> dict[str, Any]:
        """The released model at this clip's size, with these blocks and heads."""
        assert self.heads and self.blocks
        return self.kind.sized(self.heads, self.blocks, *self.clip)

    @property
    def lora(self) -> tuple[int, int]:
        """Rank and alpha: the recipe's on the whole model, in proportion to the width below it."""
        heads = self.whole_size[0]
        rank = max(2, self.recipe.lora.rank * (self.heads or heads) // heads)
        return rank, max(1, rank // 2)


def build_backbone(options: BenchOptions, device: torch.device | str) -> Backbone:
    """The model with LoRA, taps and checkpointing; bfloat16 on CUDA and meta, float32 on the CPU."""
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    backbone = options.kind.from_config(options.model_config, dtype, device)
    with torch.device(device):
        backbone.add_lora(sorted({*options.align.sga_blocks, *options.align.spa_blocks}), *options.lora)
    install_training_taps(backbone, options.align)
    if options.checkpointing != "none":
        backbone.enable_checkpointing(options.checkpointing)
    keep_frozen(backbone, options.frozen == "fp8", int(options.swapped * (options.blocks or 0)))
    return backbone


def step_flops(options: BenchOptions) -> tuple[int, int]:
    """FLOPs of a step with losses off and on, on the meta device. Recomputed ones count again.

    Blocks without taps cost the same each: what one more adds to the tapped ones is taken for every other. How a step
    is run changes nothing: rungs of the ladder share a count.
    """
    return _step_flops(replace(options, compiled=False, attention="auto", frozen="precision", swapped=0.0))


@cache
def _step_flops(options: BenchOptions) -> tuple[int, int]:
    size, tapped = options.clip, len(options.align.sga_blocks) + len(options.align.spa_blocks)

    def count(blocks: int, aligned: bool) -> int:
        backbone = build_backbone(replace(options, blocks=blocks), "meta")
        roles = costly_roles(backbone, *size, ROLE_TOKENS) if aligned else None
        return count_flops(training_step(backbone, *size, roles, options.supervise_stride))

    fewest = min(tapped, options.blocks or tapped)
    few, more, aligned = count(fewest, False), count(fewest + 1, False), count(fewest, True)
    off = few + ((options.blocks or fewest) - fewest) * (more - few)
    return off, off + aligned - few


def encoding_flops(options: BenchOptions) -> dict[str, int]:
    """FLOPs that the recipe's step encodes beside the transformer, with `train.cache` and without: of the released
    model's encoders, on the meta device."""
    encoders, recipe = options.kind.encoders.released(), CONFIGS / options.kind.released.recipe
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
        self.grid = self.backbone.grid(*options.clip)
        self.roles: RoleWeights = costly_roles(self.backbone, *options.clip, ROLE_TOKENS)
        scheduler = options.kind.encoders.scheduler_classes[0]()
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
        """N, of the attention that video has with itself: with text, where that is in it."""
        joint = self.grid.text_keys is None
        return self.roles.video_length + (self.roles.text_length if joint else 0)

    def masks(self, stride: int) -> Tensor:
        """Masks of subject, verb and object at a stride, [1, 3, T, H/s, W/s]: two boxes that move."""
        frames, height, width = self.options.clip
        boxes = torch.zeros(1, 2, frames, height, width, dtype=torch.uint8, device=self.device)
        for t in range(frames):
            shift = (width // 2) * t // frames
            boxes[0, 0, t, height // 4 : height // 2, shift : shift + width // 4] = 1
            boxes[0, 1, t, height // 2 :, width // 2 :] = 1
        return role_masks(boxes, torch.tensor([[[0, 1]]], device=self.device), stride)

    def _inputs(self) -> Inputs:
        latents, conditions, timesteps = self.backbone.blank(1, *self.options.clip)
        grid = self.grid
        return Inputs(
            clean=torch.randn_like(latents),
            conditions={name: torch.randn_like(value) for name, value in conditions.items()},
            noise=torch.randn_like(latents),
            timesteps=torch.full_like(timesteps, 500),
            roles=self.roles,
            masks=self.masks(self.options.supervise_stride),
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
