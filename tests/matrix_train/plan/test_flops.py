"""What alignment costs, by FlopCounterMode: at 5B geometry on the meta device and at tiny size on the CPU."""

from functools import cache

import pytest
import torch

from matrix_train.align.decoder import MapDecoder
from matrix_train.attention.maps import Taps, attend
from matrix_train.backbones import Backbone, CogVideoX, Wan21, Wan22
from matrix_train.plan.flops import costly_roles, count_flops, training_step
from tests.matrix_train.reference import FLAVOURS, TINY, make_roles


def backbone(kind: type[Backbone], blocks: int) -> Backbone:
    """The released model but for the number of its blocks: they cost the same each, so two and three give the rest."""
    built = kind.from_config({**kind.released.config, "num_layers": blocks}, torch.bfloat16, "meta")
    built.add_lora(blocks=range(blocks), rank=128, alpha=64)
    return built


@cache
def base_flops(kind: type[Backbone]) -> tuple[int, int]:
    """A step at all blocks, and at 3, without alignment and checkpointing: the smallest thing to compare with."""
    clip = kind.released.clip
    two, three = (count_flops(training_step(backbone(kind, n), *clip, None, 1)) for n in (2, 3))
    return three + (kind.released.config["num_layers"] - 3) * (three - two), three


@pytest.mark.parametrize(
    ("kind", "whole_flops", "mode", "kernel", "propagation", "bar"),
    [
        (CogVideoX, 9.1e14, "logits", "auto", True, 1e-4),
        (CogVideoX, 9.1e14, "centred", "auto", True, 1e-4),
        (CogVideoX, 9.1e14, "softmax", "lse", True, 0.01),
        (CogVideoX, 9.1e14, "softmax", "columns", False, 0.01),
        (Wan21, 4.77e15, "centred", "auto", True, 1e-4),
        (Wan21, 4.77e15, "softmax", "lse", True, 0.01),
        (Wan22, 2.43e14, "centred", "auto", True, 1e-3),
        (Wan22, 2.43e14, "softmax", "lse", True, 0.01),
    ],
)
def test_alignment_costs_at_most_one_percent_of_the_released_model(
    kind, whole_flops, mode, kernel, propagation, bar
) -> None:
    """At its recipe's clip. Two blocks of grounding and one of propagation, or two."""
    (whole, three), clip = base_flops(kind), kind.released.clip
    assert whole == pytest.approx(whole_flops, rel=0.06)
    built = backbone(kind, 3)
    built.install_taps({0: ["v2t"], 1: ["v2t"], **({2: ["v2v"]} if propagation else {})}, mode, kernel)
    roles = costly_roles(built, *clip, tokens=8)
    extra = count_flops(training_step(built, *clip, roles, stride=1)) - three
    assert 0 < extra / whole <= bar


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_the_count_on_meta_is_the_count_on_the_cpu(mode) -> None:
    """The operators that the CPU really runs, counted at tiny size, against the same step without data."""
    n, heads, dim = 131, 3, 16
    roles = make_roles(11, 120)

    def step(device: str) -> int:
        leaves = [torch.randn(2, heads, n, dim, device=device, requires_grad=True) for _ in range(3)]
        taps = Taps(roles.to(device), ("v2t", "v2v"), mode)

        def run() -> None:
            out, maps = attend(*leaves, taps)
            (out.sum() + maps["v2t"].sum() + maps["v2v"].sum()).backward()

        return count_flops(run)

    assert step("cpu") == step("meta")


def test_lse_and_its_gradient_cost_eight_more_channels_in_the_backward_pass() -> None:
    """Two products forward, five backward, the latter over d + 8 channels; the map itself over its few tokens."""
    n, heads, dim, tokens = 131, 3, 16, 6
    leaves = [torch.randn(2, heads, n, dim, requires_grad=True) for _ in range(3)]

    def run() -> None:
        out, maps = attend(*leaves, Taps(make_roles(11, 120), ("v2t",), "softmax", "lse"))
        (out.sum() + maps["v2t"].sum()).backward()

    product = 2 * (2 * heads) * n * n
    columns = 4 * 2 * (2 * heads) * n * tokens * dim  # scores, again in the backward pass, and their two gradients
    pooled = heads * 2 * 2 * 2 * 3 * tokens * n  # mean over tokens, head by head, and its gradient
    assert count_flops(run) == product * (2 * dim + 5 * (dim + 8)) + columns + pooled


def test_a_tiny_step_counts_and_alignment_adds_to_it() -> None:
    config = {**TINY, **FLAVOURS["5b"]}
    built = CogVideoX.from_config(config)
    built.install_taps({0: ["v2t"], 1: ["v2t"], 2: ["v2v"]})
    built.add_lora(blocks=(0, 1, 2), rank=4, alpha=2)
    roles = costly_roles(built, 9, 64, 96, tokens=2)
    base = count_flops(training_step(built, 9, 64, 96, None, 4))
    aligned = count_flops(training_step(built, 9, 64, 96, roles, 4))
    assert 0 < base < aligned
    built.enable_checkpointing()
    assert count_flops(training_step(built, 9, 64, 96, None, 4)) > base


def test_the_decoder_is_light() -> None:
    """One map of 13 × 30 × 45 to 49 × 480 × 720: below a tenth of a GFLOP of convolutions, whatever the stride."""
    with torch.device("meta"):
        decoder, maps = MapDecoder(), torch.randn(1, 1, 13, 30, 45)
    flops = {stride: count_flops(lambda stride=stride: decoder(maps, stride)) for stride in (1, 8)}
    assert flops[1] == flops[8] == 2 * 17550 * (27 * 8 + 27 * 8 * 8 + 8 * 16)
    assert flops[1] < 1e8
