"""Puts a run's parts together from its configuration: encoders, backbone, adapters, taps, decoders, loss."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from matrix_train.attention.grid import Grid
from matrix_train.backbones import Backbone, backbone_named, trainable_parameters
from matrix_train.backbones.configured import load_backbone
from matrix_train.backbones.encoders import Encoders
from matrix_train.config import DTYPES, Config
from matrix_train.data import read_index
from matrix_train.fit.numerics import allow_tf32, make_deterministic
from matrix_train.fit.step import AlignedModel


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
    make_deterministic(config.train.deterministic)
    if dtype == torch.bfloat16:
        allow_tf32(device)
    torch.manual_seed(config.train.seed)
    backbone = load_backbone(config, dtype)
    read = config.train.cache is None
    encoders = backbone.encoders.load(config.model.path, dtype, config.model.revision, read)
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    model = AlignedModel(backbone, grid, config.align, encoders.scheduler)
    made = Assembly(encoders.to(device), backbone, grid, model.to(device))
    # Updates are far below a bf16 weight's resolution: what is trained is kept in float32.
    for parameter in made.trainable().values():
        parameter.data = parameter.data.float()
    return made


def make_random_model(config: Config) -> None:
    """Where asked for and not there yet: the tiny pipeline, its tokenizer made from the data set's captions."""
    folder = Path(config.model.path)
    if config.model.make_random is None or folder.exists():
        return
    backbone = backbone_named(config.model.make_random)
    captions = [row.caption for row in read_index(config.data, "train").rows]
    data = config.data
    clip = (data.frames, data.height, data.width)
    backbone.make_tiny(folder, captions, clip, data.max_tokens, config.train.seed)
