"""Video diffusion transformers that can be trained here, one file each."""

from matrix_train.backbones.base import Backbone, Grid, MapCollector, trainable_parameters
from matrix_train.backbones.cogvideox import CogVideoX

__all__ = ["Backbone", "CogVideoX", "Grid", "MapCollector", "trainable_parameters"]
