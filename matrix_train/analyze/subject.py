"""The model that is analysed: a checkpoint of diffusers, or what a run made of it, with its encoders."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from matrix_train.attention.grid import Grid
from matrix_train.backbones import Backbone, backbone_class
from matrix_train.backbones.configured import check_data
from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.objective import Objective
from matrix_train.config import DTYPES, Config
from matrix_train.export.export import merge_into
from matrix_train.export.trained import Trained


@dataclass(frozen=True)
class Subject:
    backbone: Backbone
    encoders: Encoders
    objective: Objective
    grid: Grid
    device: torch.device

    @classmethod
    def load(cls, config: Config, trained: Trained | None, device: torch.device) -> "Subject":
        """trained: weights of a run, put into the model's. UserError as `Backbone.load`."""
        where, dtype = (config.model.path, config.model.revision), DTYPES[config.model.precision]
        kind = backbone_class(*where)
        backbone = kind.load(where[0], dtype, where[1])
        check_data(config, backbone)
        if trained is not None:
            merge_into(kind, backbone.model, trained)
        backbone.model.requires_grad_(False).eval().to(device)
        encoders = kind.encoders.load(where[0], dtype, where[1]).to(device)
        grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
        return cls(backbone, encoders, kind.objective(encoders.scheduler).to(device), grid, device)

    @property
    def blocks(self) -> int:
        return len(self.backbone.blocks)

    def timesteps(self, steps: int) -> Tensor:
        """Those of a sampling run of so many steps, the noisiest first."""
        scheduler: Any = type(self.encoders.scheduler).from_config(self.encoders.scheduler.config)
        scheduler.set_timesteps(steps)
        found: Tensor = scheduler.timesteps
        return found
