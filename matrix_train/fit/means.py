"""Means of a step's numbers over forward passes and processes, each over the samples that have the number.

A sample whose caption was dropped, or whose roles were cut off, has no alignment: its 0 would say that training goes
well.
"""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from matrix_train.attention.roles import FAMILY_ROLES

ALIGNED = "aligned"
"""`<family>.aligned`: share of a forward pass's samples with a role of that family; its other numbers count by it."""

_OF_ALL = (f".{ALIGNED}", ".weighted", ".gain")
"""Numbers of a family that are over all samples, or of none."""


class Means:
    """`add` the logs of each forward pass, then `read` once. Nothing waits for the device before that."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None

    def add(self, logs: Mapping[str, Tensor], times: float = 1.0) -> None:
        """logs: scalars, of the same names each time. times: 0 for a pass that only keeps processes in step."""
        self._names = sorted(logs)
        values = torch.stack([logs[name].float() for name in self._names])
        weights = times * torch.stack([_weight(name, logs) for name in self._names])
        # Where nothing is weighed the value may be anything; elsewhere one that is not finite must be seen.
        more = torch.stack([torch.where(weights > 0, weights * values, 0.0), weights])
        self._sums = more if self._sums is None else self._sums + more

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """Over all processes, which must have added the same names. Names that no sample has are left out."""
        totals, weights = accelerator.reduce(self._sums, "sum").tolist()
        found = zip(self._names, totals, weights, strict=True)
        return {name: total / weight for name, total, weight in found if weight > 0}


def _weight(name: str, logs: Mapping[str, Tensor]) -> Tensor:
    family = name.split(".")[0]
    shared = family in FAMILY_ROLES and not name.endswith(_OF_ALL)
    return logs[f"{family}.{ALIGNED}"].float() if shared else torch.ones_like(logs[name], dtype=torch.float32)
