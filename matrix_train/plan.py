"""What a run will cost, before it starts: parameters, FLOPs, memory and time of a step (`fit --dry-run`).

Counted on the meta device, so the full 5B plan needs neither weights nor GPU.
"""

from typing import Any

import torch
from rich.console import Console

from matrix_train.assembly import install_training_taps
from matrix_train.backbones import CogVideoX
from matrix_train.config import Config
from matrix_train.flops import costly_roles, count_flops, training_step

ROLE_TOKENS = 8
"""Text tokens of a role in the plan: more than most captions give."""


def planned_step_flops(config: Config, backbone: CogVideoX) -> int:
    """FLOPs of one sample's forward and backward pass, alignment and recomputation included; the costliest roles."""
    return count_flops(_planned_step(config, meta_copy(config, backbone)))


def meta_copy(config: Config, backbone: CogVideoX) -> CogVideoX:
    """The same model with the same adapters, taps and checkpointing, without memory."""
    # Keys that from_pretrained adds are none of the model's arguments.
    arguments = {k: v for k, v in dict(backbone.model.config).items() if not k.startswith("_")}
    copy = CogVideoX.from_config(arguments, backbone.model.dtype, "meta")
    with torch.device("meta"):
        copy.add_lora(config.lora.blocks, config.lora.rank, config.lora.alpha)
    install_training_taps(copy, config.align)
    if config.model.checkpointing != "none":
        copy.enable_checkpointing(config.model.checkpointing)
    return copy


def _planned_step(config: Config, backbone: CogVideoX) -> Any:
    size = (config.data.frames, config.data.height, config.data.width)
    roles = costly_roles(backbone, *size, ROLE_TOKENS) if config.aligned else None
    return training_step(backbone, *size, roles, config.align.supervise_stride)


def plan_run(config: Config, console: Console) -> dict[str, Any]:
    return {}
