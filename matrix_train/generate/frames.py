"""A video of a backbone as it stands: its latents, then its frames.

latents = generate_latents(backbone, encoders, scene)
frames = decode_frames(encoders, latents)
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matrix_train.attention.kernels import AttentionKernel, attention_kernel
from matrix_train.backbones import Backbone, Encoders
from matrix_train.backbones.guidance import guided
from matrix_train.backbones.scene import Scene


@torch.no_grad()
def generate_latents(backbone: Backbone, encoders: Encoders, scene: Scene, kernel: AttentionKernel = "auto") -> Tensor:
    """Scaled latents [1, F, C, h, w], guided as the scene says."""
    with attention_kernel(kernel), guided(backbone, scene.cut, scene.guidance > 1):
        return backbone.denoise(encoders, scene)


@torch.no_grad()
def decode_frames(encoders: Encoders, latents: Tensor, tiled: bool = True) -> NDArray[np.uint8]:
    """RGB [T, H, W, 3] of latents [1, F, C, h, w]; black where the model gave no number."""
    frames = encoders.decode(latents, tiled)[0].permute(1, 2, 3, 0)
    shown = np.nan_to_num((frames.float() / 2 + 0.5).clamp(0, 1).cpu().numpy())
    made: NDArray[np.uint8] = (shown * 255).round().astype(np.uint8)
    return made
