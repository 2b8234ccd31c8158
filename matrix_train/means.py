"""Means of a step's numbers over forward passes and processes, each over the samples that have the number.

A sample whose caption was dropped, or whose roles were cut off, has no alignment: its 0 would say that training goes
well.
"""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from matrix_train.losses import FAMILY_ROLES

ALIGNED = "aligned"
"""`<family>.aligned`: share of a forward pass's samples with a role of that family; its other numbers count by it."""

_OF_ALL = (f".{ALIGNED}", ".weighted", ".gain")
"""Numbers of a family that are over all samples, or of none."""


class Means:
    """`add` the logs of each forward pass, then `read` once. Nothing waits for the device before that."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}

    def add(self, logs: Mapping[str, Tensor], times: float = 1.0) -> None:
        """logs: scalars by name. times: 0 for a pass that only keeps processes in step."""
        for name, value in logs.items():
            family = name.split(".")[0]
            shared = family in FAMILY_ROLES and not name.endswith(_OF_ALL)
            weight = times * (logs[f"{family}.{ALIGNED}"] if shared else torch.ones_like(value)).float()
            # Where nothing is weighed the value may be anything; elsewhere one that is not finite must be seen.
            summand = torch.where(weight > 0, weight * value.float(), 0.0)
            self._sums[name] = self._sums.get(name, 0.0) + summand
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """Over all processes, which must have added the same names. Names that no sample has are left out."""
        names = sorted(self._sums)
        held = torch.stack([torch.stack([self._sums[name], self._weights[name]]) for name in names])
        reduced: list[tuple[float, float]] = accelerator.reduce(held, "sum").tolist()
        return {name: total / weight for name, (total, weight) in zip(names, reduced, strict=True) if weight > 0}
