"""Video diffusion transformers that can be trained here, a folder each: a new one is added to `BACKBONES`."""

from matrix_train.backbones.base import Backbone, MapCollector, trainable_parameters
from matrix_train.backbones.cogvideox.model import CogVideoX
from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.pretrained import read_class_name
from matrix_train.errors import UserError

__all__ = [
    "BACKBONES",
    "Backbone",
    "CogVideoX",
    "Encoders",
    "MapCollector",
    "backbone_class",
    "backbone_named",
    "trainable_parameters",
]

BACKBONES: dict[str, type[Backbone]] = {"CogVideoXTransformer3DModel": CogVideoX}
"""By the name of the transformer's class in diffusers."""


def backbone_named(name: str) -> type[Backbone]:
    """The backbone of this name in configurations. UserError where there is none."""
    names = {kind.name: kind for kind in BACKBONES.values()}
    if name not in names:
        raise UserError(f"there is no backbone {name}: give {' or '.join(names)}")
    return names[name]


def backbone_class(name_or_path: str, revision: str | None = None) -> type[Backbone]:
    """The backbone for a diffusers pipeline. UserError where its transformer cannot be read, or is none of ours."""
    name = read_class_name(name_or_path, "transformer", revision)
    if name not in BACKBONES:
        raise UserError(f"model.path {name_or_path}: a {name} cannot be trained here; {', '.join(BACKBONES)} can")
    return BACKBONES[name]
