"""Frozen weights in 8 bits and in the host's memory: what is computed, what moves when, what it does to the loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from matrix_train.backbones import CogVideoX
from matrix_train.backbones.configured import keep_frozen
from matrix_train.backbones.frozen import FP8, FrozenLinear, Swap, frozen_weights, store_frozen
from matrix_train.errors import UserError
from matrix_train.plan.flops import training_step
from matrix_train.plan.memory import peak_bytes
from matrix_train.plan.plan import lines, plan_run
from tests.matrix_train.fitting import metrics, small_config, start
from tests.matrix_train.reference import FLAVOURS, TINY, relative_error


def test_eight_bits_keep_three_of_a_weights_digits_in_two() -> None:
    """Weights as a transformer's, outputs that differ a thousandfold: each within e4m3's sixteenth, most far within."""
    torch.manual_seed(0)
    old = nn.Linear(64, 48).requires_grad_(False)
    old.weight.mul_(torch.logspace(-4, 0, 48)[:, None])
    wide, x = old.weight.clone(), torch.randn(5, 64)
    want = old(x)
    holder = nn.ModuleList([old])
    ((layer,),) = store_frozen([holder], fp8=True)
    assert layer.weight.dtype == FP8
    assert layer.scale is not None
    assert torch.equal(layer.scale, torch.exp2(layer.scale.log2().round()))  # rounds nothing
    kept = layer.weight.float() * layer.scale
    assert ((kept - wide).norm(dim=1) / wide.norm(dim=1)).max() < 0.04
    assert relative_error(holder[0](x) - old.bias, want - old.bias) < 0.04
    naive = wide.to(FP8).float()
    assert relative_error(naive[:12], wide[:12]) > 0.9  # what lies below e4m3's smallest number would be gone


def built(blocks: int = 4) -> CogVideoX:
    torch.manual_seed(0)
    backbone = CogVideoX.from_config({**TINY, **FLAVOURS["5b"], "num_layers": blocks})
    backbone.add_lora(blocks=(1, 2), rank=4, alpha=2)
    with torch.no_grad():
        for name, parameter in backbone.trainable().items():
            if ".lora_B." in name:
                parameter.normal_(0, 0.1)
    backbone.install_taps({1: ["v2t"], 2: ["v2v"]})
    backbone.enable_checkpointing("selective")
    return backbone


def gradients(backbone: CogVideoX) -> list[torch.Tensor]:
    for parameter in backbone.trainable().values():
        parameter.grad = None
    torch.manual_seed(1)
    step = training_step(backbone, 9, 64, 96, None, 4)
    step()
    return [parameter.grad for parameter in backbone.trainable().values() if parameter.grad is not None]


def test_swapped_blocks_give_the_same_gradients_bit_for_bit() -> None:
    """Twice: the second forward pass begins where the first backward pass has ended."""
    plain, swapped = built(), built()
    keep_frozen(swapped, fp8=False, swap=3)
    want = gradients(plain)
    assert want
    for _ in range(2):
        got = gradients(swapped)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    numbers, held, host = frozen_weights(swapped.model)
    all_numbers, all_held, nothing = frozen_weights(plain.model)
    assert (numbers, nothing) == (all_numbers, 0)
    assert held == all_held - host + 2 * host // 3  # of three that are swapped two are there at once


def test_a_block_is_sent_while_the_one_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One ahead, forwards and then backwards; only the first of a pass, and the turn, are waited for."""
    backbone = built()
    events: list[str] = []
    send = Swap.send

    def spy(self: Swap, block: int, device: torch.device) -> Any:
        events.append(f"send {block}")
        return send(self, block, device)

    monkeypatch.setattr(Swap, "send", spy)
    keep_frozen(backbone, fp8=False, swap=3)
    for number, block in enumerate(backbone.model.transformer_blocks[1:]):
        block.norm1.linear.register_forward_hook(lambda *_, number=number: events.append(f"run {number}"))
    gradients(backbone)
    assert events == [
        "send 0", "send 1", "run 0", "send 2", "run 1", "run 2",
        "run 2", "send 1", "send 0", "run 1", "run 0",
    ]  # fmt: skip


class Copies(TorchDispatchMode):  # type: ignore[misc]
    """From where to where tensors are copied."""

    def __init__(self) -> None:
        super().__init__()
        self.ways: set[tuple[str, str]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default):
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            self.ways.add((source.device.type, result.device.type))
        return result


def test_weights_go_to_the_device_and_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is the meta device here: whatever came back from it would be a copy that this sees."""
    backbone = built()
    keep_frozen(backbone, fp8=True, swap=4)
    backbone.model.to("meta")
    sending, step = Copies(), Copies()
    send = Swap.send

    def watched(self: Swap, block: int, device: torch.device) -> Any:
        with sending:
            return send(self, block, device)

    monkeypatch.setattr(Swap, "send", watched)
    with step:
        gradients(backbone)
    assert sending.ways == {("cpu", "meta")}
    assert ("meta", "cpu") not in step.ways


def test_the_plan_sees_what_swapping_saves() -> None:
    """A model of eight blocks on the meta device: of seven that are swapped two lie there, in 8 bits half as much."""
    config = {**TINY, **FLAVOURS["5b"], "num_layers": 8, "num_attention_heads": 32}
    held, peaks = {}, {}
    for swap, fp8 in ((0, False), (7, False), (0, True), (7, True)):
        backbone = CogVideoX.from_config(config, torch.bfloat16, "meta")
        with torch.device("meta"):
            backbone.add_lora(blocks=(1,), rank=4, alpha=2)
        backbone.enable_checkpointing("selective")
        keep_frozen(backbone, fp8=fp8, swap=swap)
        held[swap, fp8] = frozen_weights(backbone.model)
        peaks[swap, fp8] = peak_bytes(training_step(backbone, 9, 64, 96, None, 4))
    one = held[7, False][2] // 7
    assert held[0, False][1] - held[7, False][1] == 5 * one
    assert held[7, True][2] == held[7, False][2] // 2
    assert held[0, False][1] - held[0, True][1] == pytest.approx(8 * one / 2, rel=0.01)  # but for the scales
    assert peaks[7, False] == peaks[0, False]
    # A block's wide weights are made anew where they are used, and one layer's before it is scaled.
    assert peaks[0, False] < peaks[0, True] < peaks[0, False] + 1.5 * one


def test_what_is_left_out_is_said(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.swap is 5, but this model has 4 blocks"):
        keep_frozen(built(), fp8=False, swap=5)
    for wrong, said in (
        (("model.swap=1",), "save nothing without model.checkpointing"),
        (("model.frozen=fp8", "model.checkpointing=full", "train.parallel=fsdp"), "are for one GPU"),
        (("model.swap=1", "model.checkpointing=full", "model.compile=true"), "cannot be compiled"),
    ):
        with pytest.raises(UserError, match=said):
            small_config(dataset, tmp_path, *wrong)


def test_what_they_do_to_the_loss(dataset: Path, tmp_path: Path) -> None:
    """Three steps of the tiny model: swapped the very same numbers, in 8 bits a loss within 2 % of them."""
    common = ("model.checkpointing=selective", "train.steps=3")
    arms = {
        "plain": (),
        "swap": ("model.swap=3",),
        "fp8": ("model.swap=3", "model.frozen=fp8"),
    }
    found = {}
    for name, more in arms.items():
        config = small_config(dataset, tmp_path / name, *common, *more)
        run = start(config)
        layers = [m for m in run.parts.backbone.model.modules() if isinstance(m, FrozenLinear)]
        assert bool(layers) == bool(more)
        run.train()
        found[name] = metrics(tmp_path / name)
    assert found["swap"] == found["plain"]
    for one, other in zip(found["fp8"], found["plain"], strict=True):
        assert one["diffusion"] != other["diffusion"]
        assert one["diffusion"] == pytest.approx(other["diffusion"], rel=0.02)
    said = "\n".join(
        lines(plan_run(small_config(dataset, tmp_path / "p", *common, "model.swap=3"), torch.device("cpu")))
    )
    assert "swapped out" in said
