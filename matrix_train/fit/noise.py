"""Randomness of a step, drawn from names and counters and never from a running generator.

A sample's noise depends on (seed, purpose, epoch, key) only: a resumed run draws what the undisturbed one would have
drawn, with any number of processes, and there is no generator state to save.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator that belongs to these names."""
    text = "/".join(map(str, (seed, *names)))
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1)


def normal(generators: Sequence[torch.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal [B, *shape] on the device and in the dtype of `like`, one generator a sample.

    Drawn on the CPU in float32, so that every device gets the same numbers.
    """
    drawn = torch.stack([torch.randn(tuple(shape), generator=g) for g in generators])
    return send(drawn, like.device).to(like.dtype)


def uniform(generators: Sequence[torch.Generator]) -> Tensor:
    """Uniform in 0 … 1, [B] on the CPU."""
    return torch.cat([torch.rand(1, generator=g) for g in generators])


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """From the CPU to the device. A GPU's driver waits for all work before it copies from memory that is not pinned."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
