"""Video diffusion transformers that can be trained here, a folder each: a new one is added to `BACKBONES`."""

from typing import Any

from matrix_train.backbones.base import Backbone
from matrix_train.backbones.cogvideox.model import CogVideoX
from matrix_train.backbones.encoders import Conditions, Encoders
from matrix_train.backbones.pretrained import read_transformer_config
from matrix_train.backbones.trainable import trainable_parameters
from matrix_train.backbones.wan21.model import Wan21
from matrix_train.backbones.wan22.model import Wan22
from matrix_train.errors import UserError

__all__ = [
    "BACKBONES",
    "Backbone",
    "CogVideoX",
    "Conditions",
    "Encoders",
    "Wan21",
    "Wan22",
    "backbone_class",
    "backbone_named",
    "backbone_of",
    "register",
    "trainable_parameters",
]

BACKBONES: dict[str, type[Backbone]] = {kind.name: kind for kind in (CogVideoX, Wan21, Wan22)}
"""By their names in configurations."""


def register(kind: type[Backbone]) -> type[Backbone]:
    """Makes a backbone of another package known here, beside those of `BACKBONES`; also as a decorator."""
    BACKBONES[kind.name] = kind
    return kind


def backbone_named(name: str) -> type[Backbone]:
    """The backbone of this name in configurations. UserError where there is none."""
    if name not in BACKBONES:
        raise UserError(f"there is no backbone {name}: give {' or '.join(BACKBONES)}")
    return BACKBONES[name]


def backbone_class(name_or_path: str, revision: str | None = None) -> type[Backbone]:
    """The backbone for a diffusers pipeline. UserError where its transformer cannot be read, or is none of ours."""
    name, config = read_transformer_config(name_or_path, revision)
    return backbone_of(name, config, f"model.path {name_or_path}")


def backbone_of(class_name: str, config: Any, where: str) -> type[Backbone]:
    """The backbone for a transformer of this class of diffusers with this configuration. UserError."""
    named = [kind for kind in BACKBONES.values() if kind.model_class.__name__ == class_name]
    for kind in named:
        if kind.takes(config):
            return kind
    known = dict.fromkeys(kind.model_class.__name__ for kind in BACKBONES.values())
    if named:
        names = " and ".join(kind.name for kind in named)
        raise UserError(f"{where}: of its {class_name} this kind cannot be trained here; {names} can")
    raise UserError(f"{where}: a {class_name} cannot be trained here; {', '.join(known)} can")
