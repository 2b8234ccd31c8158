"""What a backbone is asked to sample, and what is said of the model that a recipe trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matrix_train.backbones.encoders import Conditions
from matrix_train.backbones.guidance import Guidance

Clip = tuple[int, int, int]
"""Frames, height and width in pixels."""


@dataclass(frozen=True)
class Scene:
    """What a video is to be sampled from."""

    image: NDArray[np.uint8]
    """First frame, RGB [H, W, 3]."""
    id_map: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    conditions: Conditions
    """`prompt`, and `vision` where the model reads it, as `Backbone.predict` takes them; others are not looked at."""
    empty: Tensor
    """Embeddings [1, L, text width] of the empty caption, for guidance."""
    frames: int
    steps: int
    guidance: float
    """Of classifier-free guidance; 1: none."""
    generator: torch.Generator
    cut: Guidance | None = None
    """CMG and CAG (paper App. E)."""


@dataclass(frozen=True)
class Released:
    """The released model that a recipe trains: what can be said of it without its weights."""

    recipe: str
    """File in `configs/`."""
    config: Mapping[str, Any]
    """Arguments of its transformer; `bench` asks for `num_attention_heads`, `attention_head_dim` and `num_layers`."""
    clip: Clip
    """Of its recipe."""
