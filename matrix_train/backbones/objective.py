"""What a model's output means: how latents are noised for it, and how far its answer is from the truth.

A model trained by flow matching brings another `Objective`; the trainer asks for nothing else.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Objective(nn.Module, ABC):
    """Latents and noise are float32 [B, F, C, h, w], timesteps [B] int64 in 0 … 999."""

    @abstractmethod
    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model is given."""

    @abstractmethod
    def error(self, output: Tensor, noised: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Squared error of each element, weighted as the model was trained: [B, F, C, h, w]."""

    @abstractmethod
    def signal(self, timesteps: Tensor) -> Tensor:
        """Share of the signal's power at these timesteps, [B]: `align.timestep_weight: signal`."""

    @abstractmethod
    def weight(self, timesteps: Tensor) -> Tensor:
        """w(t), the weight that `error` gives these timesteps, [B]: `align.timestep_weight: diffusion`."""


class VPrediction(Objective):
    """CogVideoX: the output is the velocity v = √ᾱ · noise − √(1 − ᾱ) · clean of a noise schedule."""

    alphas: Tensor

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.register_buffer("alphas", scheduler.alphas_cumprod.clone(), persistent=False)

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        alpha = self._alpha(timesteps)
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def error(self, output: Tensor, noised: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:  # noqa: ARG002
        """As an estimate of the clean latents; 1 / (1 − ᾱ) makes it the error in v (training.md)."""
        alpha = self._alpha(timesteps)
        estimate = alpha.sqrt() * noised - (1 - alpha).sqrt() * output.float()
        return (estimate - clean).square() / (1 - alpha)

    def signal(self, timesteps: Tensor) -> Tensor:
        return self._alpha(timesteps).flatten()

    def weight(self, timesteps: Tensor) -> Tensor:
        return 1 / (1 - self._alpha(timesteps).flatten())

    def _alpha(self, timesteps: Tensor) -> Tensor:
        return self.alphas[timesteps].float().view(-1, 1, 1, 1, 1)
