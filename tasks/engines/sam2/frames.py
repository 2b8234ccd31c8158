"""Frames as the image encoder wants them, and masks as the clip wants them."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the usual name
from numpy.typing import NDArray

Spread = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of the channels, of which a model was trained to see 0 and 1."""

IMAGENET: Spread = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES: Spread = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""SAM3's."""


def to_input(
    frame: NDArray[np.uint8], size: int, device: torch.device, mode: str, spread: Spread = IMAGENET
) -> torch.Tensor:
    """An RGB frame uint8 [H, W, 3] → float32 [1, 3, size, size], normalised as the model was trained.

    mode: `bicubic` is PIL's, as in the sam2 package; `bilinear` is transformers'. The frame travels as bytes and is
    resized where the model runs, so that the host keeps nothing but the clip.
    """
    pixels = torch.tensor(np.ascontiguousarray(frame), device=device).permute(2, 0, 1)[None]
    if pixels.shape[-2:] != (size, size):
        pixels = _in_bytes(pixels, size, mode) if device.type == "cpu" else in_steps(pixels, size, mode)
    mean, std = (torch.tensor(x, device=device)[None, :, None, None] for x in spread)
    return (pixels.float() / 255 - mean) / std


def _in_bytes(pixels: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    """Torch's integer resize, for CPUs: seven times as fast as floats."""
    return F.interpolate(pixels, size=(size, size), mode=mode, align_corners=False, antialias=True)


def in_steps(pixels: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    """The same for GPUs, which have none: rows first, then columns, brought back to bytes after each as PIL does."""
    for shape in ((pixels.shape[-2], size), (size, size)):
        pixels = F.interpolate(pixels.float(), size=shape, mode=mode, align_corners=False, antialias=True)
        pixels = pixels.round().clamp(0, 255)
    return pixels


def to_masks(logits: torch.Tensor, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask logits [K, h, w] → binary masks [K, H, W] at the clip's size: resized first, cut at 0 after."""
    full = F.interpolate(logits[:, None].float(), size=shape, mode="bilinear", align_corners=False)[:, 0]
    masks: NDArray[np.bool_] = (full > 0).cpu().numpy()
    return masks


def to_mask_input(mask: NDArray[np.bool_], size: int, device: torch.device) -> torch.Tensor:
    """A mask [H, W] as a prompt: float32 0 or 1, [1, 1, size, size]."""
    pixels = torch.from_numpy(np.ascontiguousarray(mask)).to(device)[None, None].float()
    if pixels.shape[-2:] == (size, size):
        return pixels
    resized = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return (resized >= 0.5).float()
