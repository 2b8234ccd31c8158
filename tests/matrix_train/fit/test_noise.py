"""Noise belongs to names: the same in any order, process and batch; and the learning rate to the step."""

import pytest
import torch

from matrix_train.fit.noise import generator, normal, uniform
from matrix_train.fit.schedule import cosine_with_warmup


def test_a_sample_gets_its_own_noise_in_any_company() -> None:
    like = torch.zeros(1)
    together = normal([generator(3, "noise", 0, key) for key in "ab"], (4, 5), like)
    alone = normal([generator(3, "noise", 0, "b")], (4, 5), like)
    assert torch.equal(together[1], alone[0])


@pytest.mark.parametrize(
    "other", [(4, "noise", 0, "a"), (3, "image", 0, "a"), (3, "noise", 1, "a"), (3, "noise", 0, "b")]
)
def test_every_name_counts(other: tuple[int, str, int, str]) -> None:
    assert uniform([generator(3, "noise", 0, "a")]) != uniform([generator(other[0], *other[1:])])


def test_names_are_told_apart_where_they_meet() -> None:
    assert uniform([generator(0, "a", 11)]) != uniform([generator(0, "a1", 1)])


def test_noise_is_standard_normal_and_takes_the_dtype() -> None:
    drawn = normal([generator(0, "x")], (200, 200), torch.zeros(1, dtype=torch.bfloat16))
    assert drawn.dtype == torch.bfloat16
    assert abs(float(drawn.float().mean())) < 0.02
    assert float(drawn.float().std()) == pytest.approx(1.0, abs=0.02)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [cosine_with_warmup(step, 100, 10) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert cosine_with_warmup(0, 1, 0) == 1.0
