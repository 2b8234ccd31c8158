"""A backbone as a run's configuration asks for it: adapters, taps, checkpointing; with weights, or without memory."""

import torch

from matrix_train.attention.maps import Direction, Mode
from matrix_train.backbones import Backbone, backbone_class
from matrix_train.backbones.frozen import Swap, store_frozen
from matrix_train.config import DTYPES, AlignConfig, Config
from matrix_train.errors import UserError


def load_backbone(config: Config, dtype: torch.dtype) -> Backbone:
    """The backbone as configured: adapters, taps, checkpointing, compilation."""
    where = (config.model.path, config.model.revision)
    backbone = backbone_class(*where).load(where[0], dtype, where[1])
    check_data(config, backbone)
    prepare_backbone(config, backbone)
    if config.model.compile:
        # Of a model that computes alone: one that is only counted runs under modes that see no compiled operator.
        # Validation taps all blocks that the configuration names, whatever their λ.
        backbone.compile_blocks(leave=(*config.align.sga_blocks, *config.align.spa_blocks))
    return backbone


def plan_backbone(config: Config) -> Backbone:
    """The configured backbone on the meta device: its configuration is read, its weights are not."""
    where = (config.model.path, config.model.revision)
    kind = backbone_class(*where)
    backbone = kind.from_config(kind.read_config(*where), DTYPES[config.model.precision], "meta")
    check_data(config, backbone)
    return prepare_backbone(config, backbone)


def check_data(config: Config, backbone: Backbone) -> None:
    """UserError where prompts or clips are not as long as the model takes them, or as masks can be compared with."""
    (text, _), data = backbone.prompt_shape, config.data
    if text != data.max_tokens:
        raise UserError(f"data.max_tokens is {data.max_tokens}, but this model takes prompts of {text} tokens")
    if config.train.image_noise and not backbone.encoders.image_noise:
        raise UserError("this model was made without noise on its first frame: set train.image_noise=false")
    grid = backbone.grid(data.frames, data.height, data.width)
    if 1 + grid.time_factor * (grid.frames - 1) != data.frames:
        # Its first token would stand for five frames then, and no frame but the first for one.
        raise UserError(
            f"data.frames is {data.frames}, but a token of this model spans {grid.time_factor} frames after the first: "
            f"give 1 more than a multiple of {grid.time_factor}"
        )


def prepare_backbone(config: Config, backbone: Backbone) -> Backbone:
    """Adapters, taps and checkpointing as configured. UserError for a block that does not exist."""
    with torch.device(backbone.model.device):
        backbone.add_lora(config.lora.blocks, config.lora.rank, config.lora.alpha)
    install_training_taps(backbone, config.align)
    if config.model.checkpointing != "none":
        backbone.enable_checkpointing(config.model.checkpointing)
    keep_frozen(backbone, config.model.frozen == "fp8", config.model.swap)
    return backbone


def keep_frozen(backbone: Backbone, fp8: bool, swap: int) -> None:
    """The blocks' frozen weights in 8 bits, and those of the last `swap` blocks in the host's memory. After LoRA.

    UserError where the model has fewer blocks.
    """
    blocks = [block for block in backbone.model.modules() if type(block).__name__ == backbone.block_class]
    if swap > len(blocks):
        raise UserError(f"model.swap is {swap}, but this model has {len(blocks)} blocks")
    if fp8:
        store_frozen(blocks, fp8)
    if swap:
        Swap(blocks[-swap:])


def install_training_taps(backbone: Backbone, align: AlignConfig) -> None:
    """Taps for the families that have a λ, in the configured mode."""
    plan: dict[int, list[Direction]] = {}
    if align.sga > 0:
        for block in align.sga_blocks:
            plan.setdefault(block, []).append(align.sga_direction)
    if align.spa > 0:
        for block in align.spa_blocks:
            plan.setdefault(block, []).append("v2v")
    backbone.install_taps(plan, align.attention_map, align.kernel, align.map_scale)


def install_measuring_taps(backbone: Backbone, align: AlignConfig) -> None:
    """Softmax maps, which AAS is defined on, at all blocks that the configuration names, λ zero or not."""
    plan: dict[int, list[Direction]] = {}
    for block in align.sga_blocks:
        plan.setdefault(block, []).append("v2t")
    for block in align.spa_blocks:
        plan.setdefault(block, []).append("v2v")
    mode: Mode = "softmax"
    backbone.install_taps(plan, mode, align.kernel)
