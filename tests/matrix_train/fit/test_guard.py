"""A gradient that is not finite does not reach the weights, and a run of them ends."""

import pytest
import torch
from torch import nn

from matrix_train.errors import UserError
from matrix_train.fit.guard import LIMIT, FiniteGuard

CPU = torch.device("cpu")


def step(guard: FiniteGuard, optimizer: torch.optim.Optimizer, model: nn.Module, scale: float) -> None:
    loss = model(torch.ones(1, 3)).sum() * scale
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    guard.watch(norm, model.parameters())
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 3e38])
def test_weights_stay_finite_and_what_follows_is_training_again(scale: float) -> None:
    """3e38: every gradient is finite, their norm is not."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    guard = FiniteGuard(CPU)
    step(guard, optimizer, model, 1.0)
    step(guard, optimizer, model, scale)
    assert guard.read(2) == 1
    moved = model.weight.detach().clone()
    assert moved.isfinite().all()
    for state in optimizer.state.values():
        assert state["exp_avg"].isfinite().all()
        assert state["exp_avg_sq"].isfinite().all()
    step(guard, optimizer, model, 1.0)
    assert not torch.equal(model.weight, moved)
    assert guard.read(3) == 1


def test_finite_gradients_are_left_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.zeros(1000))
    parameter.grad = torch.randn(1000, generator=generator) * 1e-30
    before = parameter.grad.clone()
    assert FiniteGuard(CPU).watch(torch.tensor(2.0), [parameter, nn.Parameter(torch.zeros(1))]) == 2.0
    assert torch.equal(parameter.grad, before)


def test_a_run_without_gradients_ends() -> None:
    guard = FiniteGuard(CPU, total=7)
    for _ in range(LIMIT - 1):
        guard.watch(torch.tensor(float("nan")), [])
    assert guard.read(LIMIT - 1) == 7 + LIMIT - 1
    guard.watch(torch.tensor(1.0), [])
    for _ in range(LIMIT):
        guard.watch(torch.tensor(float("inf")), [])
    with pytest.raises(UserError, match=rf"no finite gradient in the {LIMIT} steps up to 90: lower optim\.lr"):
        guard.read(90)
