"""Puts a run's parts together from its configuration: encoders, backbone, adapters, taps, decoders, loss."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from matrix_train.attention import Direction, Mode
from matrix_train.backbones import Backbone, Grid, backbone_class, trainable_parameters
from matrix_train.config import AlignConfig, Config
from matrix_train.data import read_index
from matrix_train.encoders import Encoders
from matrix_train.errors import UserError
from matrix_train.step import AlignedModel
from matrix_train.tiny import make_tiny_pipeline

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Assembly:
    """Everything that a step needs except data."""

    encoders: Encoders
    backbone: Backbone
    grid: Grid
    model: AlignedModel

    def trainable(self) -> dict[str, nn.Parameter]:
        """Exactly what training changes, by the names of a checkpoint. RuntimeError where it is not exactly that."""
        wanted = trainable_parameters(self.backbone, dict(self.model.decoders.items()))
        enabled = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if enabled != wanted.keys():
            raise RuntimeError(f"trainable by mistake or frozen by mistake: {sorted(enabled ^ wanted.keys())}")
        return wanted


def assemble(config: Config, device: torch.device) -> Assembly:
    """The parts on the device, weights drawn from train.seed. UserError where model and settings do not fit."""
    dtype = DTYPES[config.model.precision]
    if dtype == torch.bfloat16:
        allow_tf32(device)
    torch.manual_seed(config.train.seed)
    backbone = load_backbone(config, dtype)
    encoders = backbone.encoders.load(config.model.path, dtype, config.model.revision)
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    model = AlignedModel(backbone, grid, config.align, encoders.scheduler)
    made = Assembly(encoders.to(device), backbone, grid, model.to(device))
    # Updates are far below a bf16 weight's resolution: what is trained is kept in float32.
    for parameter in made.trainable().values():
        parameter.data = parameter.data.float()
    return made


def allow_tf32(device: torch.device) -> None:
    """On a GPU: float32 products of LoRA take tensor cores, at 10 bits where what they read has bfloat16's 7."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def load_backbone(config: Config, dtype: torch.dtype) -> Backbone:
    """The backbone with adapters, taps and checkpointing as configured."""
    where = (config.model.path, config.model.revision)
    backbone = backbone_class(*where).load(where[0], dtype, where[1])
    check_data(config, backbone)
    return prepare_backbone(config, backbone)


def check_data(config: Config, backbone: Backbone) -> None:
    """UserError where prompts or clips are not as long as the model takes them, or as masks can be compared with."""
    (text, _), data = backbone.prompt_shape, config.data
    if text != data.max_tokens:
        raise UserError(f"data.max_tokens is {data.max_tokens}, but this model takes prompts of {text} tokens")
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
    if config.model.compile:
        # Validation taps all blocks that the configuration names, whatever their λ.
        backbone.compile_blocks(leave=(*config.align.sga_blocks, *config.align.spa_blocks))
    return backbone


def kind_of(name: str) -> str:
    """What a trainable parameter is, in words."""
    return "decoders" if name.startswith("decoders.") else "LoRA" if ".lora_" in name else "input projection"


def install_training_taps(backbone: Backbone, align: AlignConfig) -> None:
    """Taps for the families that have a λ, in the configured mode."""
    plan: dict[int, list[Direction]] = {}
    if align.sga > 0:
        for block in align.sga_blocks:
            plan.setdefault(block, []).append(align.sga_direction)
    if align.spa > 0:
        for block in align.spa_blocks:
            plan.setdefault(block, []).append("v2v")
    backbone.install_taps(plan, align.attention_map, align.kernel)


def install_measuring_taps(backbone: Backbone, align: AlignConfig) -> None:
    """Softmax maps, which AAS is defined on, at all blocks that the configuration names, λ zero or not."""
    plan: dict[int, list[Direction]] = {}
    for block in align.sga_blocks:
        plan.setdefault(block, []).append("v2t")
    for block in align.spa_blocks:
        plan.setdefault(block, []).append("v2v")
    mode: Mode = "softmax"
    backbone.install_taps(plan, mode, align.kernel)


def make_random_model(config: Config) -> None:
    """Where asked for and not there yet: the tiny pipeline, its tokenizer made from the data set's captions."""
    folder = Path(config.model.path)
    if not config.model.make_random or folder.exists():
        return
    captions = [row.caption for row in read_index(config.data, "train").rows]
    data = config.data
    make_tiny_pipeline(folder, captions, data.frames, data.height, data.width, data.max_tokens, seed=config.train.seed)
