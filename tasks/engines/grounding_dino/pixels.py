"""Frames as both implementations were trained to see them: resized, then normalised with ImageNet's mean and spread."""

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images

MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)


def target_size(height: int, width: int, shorter: int, longer: int) -> tuple[int, int]:
    """(height, width) with the shorter side `shorter`, or less so that the longer one stays within `longer`.

    Rounded as upstream's transforms round, so that a frame has the size the checkpoint's authors evaluate at.
    """
    least, most = min(height, width), max(height, width)
    side = round(longer * least / most) if most / least * shorter > longer else shorter
    if side == least:
        return height, width
    return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)


def to_pixels(frames: NDArray[np.uint8], shorter: int, longer: int, device: torch.device) -> torch.Tensor:
    """uint8 [T, H, W, 3] → float32 [T, 3, h, w] on `device`, resized (bilinear, antialiased, to whole grey levels)."""
    raw = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2)
    size = target_size(raw.shape[2], raw.shape[3], shorter, longer)
    if size != tuple(raw.shape[2:]):
        raw = images.resize(raw, list(size), interpolation=InterpolationMode.BILINEAR, antialias=True)
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
    spread = torch.tensor(SPREAD, device=device).view(1, 3, 1, 1)
    return raw.float().div_(255).sub_(mean).div_(spread)
