"""Wan 2.1, image to video: model and encoders; what it shares with others is in `backbones/wan/`."""

from matrix_train.backbones.wan21.model import Wan21

__all__ = ["Wan21"]
