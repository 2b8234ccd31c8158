"""Peak memory, counted on cases worked out by hand."""

import torch

from matrix_train.memory import PeakBytes


def test_what_is_dropped_is_not_counted_twice() -> None:
    outside = torch.zeros(1000, device="meta")
    with PeakBytes() as memory:
        a = outside + 1  # 4 000 bytes
        b = a * 2  # 8 000
        del a, b
        c = outside * 3
        d = c + 1
        e = d + 1  # 12 000
        del c, d
    assert (memory.peak, memory.live) == (12_000, 4_000)
    del e


def test_views_are_their_storage() -> None:
    outside = torch.zeros(10, 10, device="meta")
    with PeakBytes() as memory:
        outside.view(100).t()
        made = outside + 1
        made[2:].flatten(), made.t()
    assert memory.peak == 400


def test_what_the_backward_pass_keeps_is_counted() -> None:
    weight = torch.zeros(10, 10, device="meta", requires_grad=True)
    with PeakBytes() as memory:
        x = weight
        for _ in range(5):
            x = (x @ weight).relu()
        kept = memory.live
        torch.autograd.backward(x.sum())
    # Every product's argument and every relu's result stay; the products themselves do not.
    assert kept == 5 * 400
    assert memory.peak > kept
