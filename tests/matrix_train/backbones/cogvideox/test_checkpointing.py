"""Selective checkpointing keeps the attention kernels' outputs and changes nothing else; compiled blocks too."""

from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from matrix_train.backbones import CogVideoX
from matrix_train.backbones.base import ATTENTION_KERNELS
from matrix_train.plan.flops import count_flops
from tests.matrix_train.backbones.cogvideox.test_model import batch, gradients, ready, stock


class CallsOf(TorchDispatchMode):
    """Counts calls of the fused attention kernels' forward pass."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func in ATTENTION_KERNELS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("with_roles", [True, False])
@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize("flavour", ["5b-i2v", "1.5-i2v"])
def test_selective_checkpointing_keeps_attention_and_changes_nothing_else(flavour, mode, with_roles) -> None:
    """Values and gradients of the full kind bit for bit; each block's attention kernel runs once instead of twice."""
    results, calls = [], []
    for kind in (None, "full", "selective"):
        backbone = ready(mode, flavour)
        if kind is not None:
            backbone.enable_checkpointing(kind)
        inputs, roles = batch(backbone)
        with CallsOf() as counted:
            results.append(gradients(backbone, inputs, roles if with_roles else None))
        calls.append(counted.calls)
    assert calls == [3, 6, 3]
    for others in results[1:]:
        for got, want in zip(others, results[0], strict=True):
            assert torch.equal(got, want)


def test_selective_checkpointing_saves_the_attention_flops() -> None:
    flops = {}
    for kind in ("none", "full", "selective"):
        backbone = ready("logits")
        if kind != "none":
            backbone.enable_checkpointing(kind)
        inputs, roles = batch(backbone)
        flops[kind] = count_flops(
            lambda backbone=backbone, inputs=inputs, roles=roles: gradients(backbone, inputs, roles)
        )
    tokens = inputs["prompt"].shape[1] + roles.video_length
    attention = 3 * 4 * 2 * 2 * tokens**2 * 16  # blocks × two products of a sample, head and pair of tokens
    assert flops["full"] - flops["selective"] == attention
    assert flops["none"] < flops["selective"]


# Dynamo asks every tensor for its gradient, and hides the warning from logging, not from pytest.
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("kind", [None, "full", "selective"])
def test_compiled_blocks_share_one_graph_and_keep_what_checkpointing_keeps(kind) -> None:
    """Untapped blocks only. Each graph's attention kernels: in the forward pass, and again in the backward pass."""
    kernels: list[int] = []

    def count(graph: torch.fx.GraphModule, example: Any) -> Any:
        # PyTorch 2.11 hands a kernel of the full kind to an operator that keeps the random state.
        called = [{node.target, *node.args[:1]} for node in graph.graph.nodes if node.op == "call_function"]
        kernels.append(sum(not names.isdisjoint(ATTENTION_KERNELS) for names in called))
        return make_boxed_func(graph.forward)

    results = []
    for compiled in (False, True):
        torch._dynamo.reset()
        backbone = CogVideoX(stock(num_layers=5))
        backbone.install_taps({0: ["v2t"], 2: ["v2v"]})
        backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
        if kind is not None:
            backbone.enable_checkpointing(kind)
        if compiled:
            backbone.compile_blocks(aot_autograd(fw_compiler=count, partition_fn=min_cut_rematerialization_partition))
        inputs, roles = batch(backbone)
        results.append(gradients(backbone, inputs, roles))
    torch._dynamo.reset()
    assert kernels == {None: [1, 0], "full": [1, 1], "selective": [1, 0]}[kind]
    for got, want in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("flavour", ["5b-i2v", "1.5-i2v"])
def test_what_is_trained_may_be_float32_in_a_bfloat16_model(flavour) -> None:
    backbone = CogVideoX(stock(flavour, torch.bfloat16))
    backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
    inputs, _ = batch(backbone, torch.bfloat16)
    with torch.no_grad():
        want, _ = backbone.predict(**inputs)
    for parameter in backbone.trainable().values():
        parameter.data = parameter.data.float()
    got, _ = backbone.predict(**inputs)
    assert torch.equal(got, want)
    grads = torch.autograd.grad(got.float().square().mean(), list(backbone.trainable().values()))
    assert {grad.dtype for grad in grads} == {torch.float32}
