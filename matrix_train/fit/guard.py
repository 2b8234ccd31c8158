"""Keeps gradients that are not finite from the weights, and ends a run in which they do not stop.

One inf among a clip's gradients makes every weight NaN in a single AdamW step. What is finite is decided on the device:
no step waits for it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from matrix_train.errors import UserError

LIMIT = 20
"""Steps without a finite gradient, one after the other, that end a run."""


class FiniteGuard:
    """Counts the steps whose gradient was put aside: in all, and in a row up to now."""

    def __init__(self, device: torch.device, total: int = 0) -> None:
        """total: of the run before it was resumed."""
        self._total = torch.tensor(float(total), device=device)
        self._row = torch.zeros((), device=device)

    def watch(self, norm: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
        """After clipping to a norm: zeroes the gradients where the norm is not finite. Returns the norm, whole.

        Clipping by a norm that is not finite leaves 0 and NaN, so only NaN is to be replaced; finite gradients stay
        as they are, bit for bit.
        """
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        for parameter in parameters:
            if parameter.grad is not None:
                grad = parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad
                grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        lost = (~torch.isfinite(whole)).float()
        self._total += lost
        self._row = (self._row + 1) * lost
        return whole

    def read(self, step: int) -> int:
        """Gradients put aside so far. UserError where the last LIMIT steps had no other. Waits for the device."""
        total, row = torch.stack([self._total, self._row]).tolist()
        if row >= LIMIT:
            raise UserError(
                f"no finite gradient in the {int(row)} steps up to {step}: lower optim.lr or λ, or look at the data "
                "with `matrix_train inspect`, and start a new run; weights of checkpoints are finite"
            )
        return int(total)
