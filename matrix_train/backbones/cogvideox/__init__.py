"""CogVideoX: model, input projection, pipeline with an ID map, and a tiny version of itself."""

from matrix_train.backbones.cogvideox.model import CogVideoX

__all__ = ["CogVideoX"]
