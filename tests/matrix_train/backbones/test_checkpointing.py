"""Selective checkpointing keeps the attention kernels' outputs and changes nothing else; compiled blocks too."""

from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones.collector import ATTENTION_KERNELS
from matrix_train.plan.flops import count_flops
from tests.matrix_train.backbones.models import batch, gradients, made, ready
from tests.matrix_train.reference import two_samples


class CallsOf(TorchDispatchMode):
    """Counts calls of the fused attention kernels' forward pass."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func in ATTENTION_KERNELS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("with_roles", [True, False])
@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize(("flavour", "attentions"), [("5b-i2v", 1), ("1.5-i2v", 1), ("wan21", 3), ("wan22", 2)])
def test_selective_checkpointing_keeps_attention_and_changes_nothing_else(
    flavour, attentions, mode, with_roles
) -> None:
    """Values and gradients of the full kind bit for bit; each block's attention kernel runs once instead of twice."""
    results, calls = [], []
    for kind in (None, "full", "selective"):
        backbone = ready(mode, flavour)
        if kind is not None:
            backbone.enable_checkpointing(kind)
        inputs, roles = batch(backbone, flavour)
        with CallsOf() as counted:
            results.append(gradients(backbone, inputs, roles if with_roles else None))
        calls.append(counted.calls)
    assert calls == [3 * attentions, 6 * attentions, 3 * attentions]
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
    tokens = inputs["conditions"]["prompt"].shape[1] + roles.video_length
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
        backbone = made(num_layers=5)
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


@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21", "wan22"])
def test_blocks_of_every_kind_are_one_graph(flavour) -> None:
    """As `sample --compile` asks for them, traced without a compiler behind: a break in the graph is an error."""
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def traced(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    backbone = made(flavour)
    inputs, _ = batch(backbone, flavour)
    with torch.no_grad():
        want, _ = backbone.predict(**inputs)
        backbone.compile_blocks(traced, leave=(0,))
        got, _ = backbone.predict(**inputs)
    torch._dynamo.reset()
    assert len(graphs) == 1, "one for all blocks"
    torch.testing.assert_close(got, want)


@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
def test_as_many_kinds_of_models_as_one_likes_are_compiled_in_a_process() -> None:
    """The compiler's own limit is 8 graphs of a function, beyond which it refuses."""
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def traced(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    for heads in (*range(1, 10), 1):
        backbone = made(num_attention_heads=heads, num_layers=2)
        inputs, _ = batch(backbone)
        with torch.no_grad():
            backbone.compile_blocks(traced, leave=(0,))
            backbone.predict(**inputs)
    torch._dynamo.reset()
    assert len(graphs) == 9, "one a kind"


@pytest.mark.parametrize("flavour", ["5b-i2v", "1.5-i2v", "wan21", "wan22"])
def test_what_is_trained_may_be_float32_in_a_bfloat16_model(flavour) -> None:
    backbone = made(flavour, torch.bfloat16)
    backbone.add_lora(blocks=(0, 2), rank=4, alpha=2)
    inputs, _ = batch(backbone, flavour, torch.bfloat16)
    with torch.no_grad():
        want, _ = backbone.predict(**inputs)
    for parameter in backbone.trainable().values():
        parameter.data = parameter.data.float()
    got, _ = backbone.predict(**inputs)
    assert torch.equal(got, want)
    grads = torch.autograd.grad(got.float().square().mean(), list(backbone.trainable().values()))
    assert {grad.dtype for grad in grads} == {torch.float32}


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
@pytest.mark.parametrize("flavour", ["5b-i2v", "wan21", "wan22"])
def test_checkpointed_equals_not_checkpointed(flavour, mode) -> None:
    backbone = ready(mode, flavour)
    inputs, roles = batch(backbone, flavour)
    plain = gradients(backbone, inputs, roles)
    backbone.enable_checkpointing()
    for got, want in zip(gradients(backbone, inputs, roles), plain, strict=True):
        assert torch.equal(got, want)
    assert all(grad.any() for grad in plain)


def test_each_backward_pass_recomputes_with_its_own_roles() -> None:
    """Two forward passes, then both backward passes: the recompute of the first must not see the second's roles."""
    backbone = ready("softmax")
    inputs, first = batch(backbone)
    text, video = two_samples(first.text_length, first.video_length)
    second = RoleWeights.build(text.flip(-1), video.flip(-1))
    apart = [gradients(backbone, inputs, roles)[1:] for roles in (first, second, None)]
    backbone.enable_checkpointing()
    total = torch.zeros(())
    for roles in (first, second, None):
        prediction, maps = backbone.predict(**inputs, roles=roles)
        total = total + prediction.square().mean()
        for i, key in enumerate(sorted(maps)):
            total = total + (i + 1) * maps[key].square().sum()
    together = torch.autograd.grad(total, list(backbone.trainable().values()))
    for got, *parts in zip(together, *apart, strict=True):
        torch.testing.assert_close(got, sum(parts), rtol=1e-4, atol=1e-6)


def test_nothing_is_kept_after_a_step() -> None:
    backbone = ready("logits")
    backbone.enable_checkpointing()
    inputs, roles = batch(backbone)
    gradients(backbone, inputs, roles)
    assert backbone.collector._step is None


def test_reentrant_checkpointing_is_refused() -> None:
    backbone = ready("logits")
    inputs, roles = batch(backbone)
    backbone.model.enable_gradient_checkpointing(lambda block, *args: checkpoint(block, *args, use_reentrant=True))
    with pytest.raises(RuntimeError, match="call the backbone's enable_checkpointing"):
        backbone.predict(**inputs, roles=roles)
    # Also where it hides from the model: the processor finds its gradient switched off.
    backbone.model.disable_gradient_checkpointing()
    block = backbone.model.transformer_blocks[0]
    plain = block.forward
    block.forward = lambda **kw: checkpoint(
        lambda h, e: plain(**{**kw, "hidden_states": h, "encoder_hidden_states": e}),
        kw["hidden_states"], kw["encoder_hidden_states"], use_reentrant=True,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="reentrant checkpointing drops the maps' gradient"):
        backbone.predict(**inputs, roles=roles)
