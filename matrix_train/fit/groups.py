"""The optimiser's parameter groups."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from matrix_train.config import OptimConfig


def groups(trainable: Mapping[str, nn.Parameter], optim: OptimConfig) -> list[dict[str, Any]]:
    """With their peak learning rates; biases and scalars are not decayed."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable.items():
        rate = optim.decoder_lr if name.startswith("decoders.") else optim.lr
        found.setdefault((rate, optim.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in found.items()
    ]
