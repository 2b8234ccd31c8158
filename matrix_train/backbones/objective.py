"""What a model's output means: how latents are noised for it, and how far its answer is from the truth."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Objective(nn.Module, ABC):
    """Latents and noise are float32 [B, F, C, h, w], timesteps [B] in 0 … 1000, whole or not as the model has them."""

    @abstractmethod
    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model is given."""

    @abstractmethod
    def error(self, output: Tensor, noised: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Squared error of each element that the model has to tell, weighted as it was trained: [B, F, C, h, w]."""

    @abstractmethod
    def signal(self, timesteps: Tensor) -> Tensor:
        """Share of the signal's power at these timesteps, [B]: `align.timestep_weight: signal`."""

    @abstractmethod
    def weight(self, timesteps: Tensor) -> Tensor:
        """w(t), the weight that `error` gives these timesteps, [B]: `align.timestep_weight: diffusion`."""


class VPrediction(Objective):
    """The output is the velocity v = √ᾱ · noise − √(1 − ᾱ) · clean of a noise schedule; timesteps are whole."""

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


class Flow(Objective):
    """Flow matching: on the straight way from clean to noise, at σ = t / T, the output is noise − clean (Lipman et al.,
    arXiv 2210.02747; the rectified form of Liu et al., arXiv 2209.03003)."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.steps: int = scheduler.config.num_train_timesteps

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        sigma = self._sigma(timesteps)
        return (1 - sigma) * clean + sigma * noise

    def error(self, output: Tensor, noised: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:  # noqa: ARG002
        return (output.float() - (noise - clean)).square()

    def signal(self, timesteps: Tensor) -> Tensor:
        sigma = self._sigma(timesteps).flatten()
        return (1 - sigma).square() / ((1 - sigma).square() + sigma.square())

    def weight(self, timesteps: Tensor) -> Tensor:
        """All the same."""
        return (timesteps >= 0).float()

    def _sigma(self, timesteps: Tensor) -> Tensor:
        return (timesteps.float() / self.steps).view(-1, 1, 1, 1, 1)


def shifted(drawn: Tensor, shift: float) -> Tensor:
    """σ of flow matching from numbers uniform in 0 … 1: a shift above 1 draws more of the noisy end, as large pictures
    want (Esser et al., arXiv 2403.03206, §5.3.2)."""
    sigma: Tensor = shift * drawn / (1 + (shift - 1) * drawn)
    return sigma
