"""Wan 2.2, text and image to video: model and encoders; what it shares with others is in `backbones/wan/`."""

from matrix_train.backbones.wan22.model import Wan22

__all__ = ["Wan22"]
