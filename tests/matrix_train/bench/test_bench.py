"""The benchmark at tiny size: its yardstick is exact, its figures are there, nothing of N² elements is made."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from matrix_train.attention.dense import dense_attend
from matrix_train.attention.maps import Taps
from matrix_train.bench import BenchOptions, bench, climb, describe
from matrix_train.bench.tensors import LargestTensor, largest_of_attention, largest_of_blocks
from matrix_train.bench.workload import Workload
from matrix_train.config import load_config
from matrix_train.errors import UserError
from tests.matrix_train import reference
from tests.matrix_train.fitting import TINY
from tests.matrix_train.reference import make_roles, relative_error, two_samples

SMALL = BenchOptions(device="cpu", frames=5, height=32, width=48, blocks=3, heads=1, rounds=1)


@pytest.mark.parametrize("direction", ["v2t", "v2v", "t2v"])
@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_the_dense_yardstick_is_exact(mode, direction) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 131, 16, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    out, maps = dense_attend(q, k, v, Taps(make_roles(11, 120), (direction,), mode))
    text, video = two_samples(11, 120)
    want_out, want = reference.dense_attend(q, k, v, text.double(), video.double(), direction, mode)
    assert relative_error(out, want_out) < 1e-6
    assert relative_error(maps[direction], want) < 1e-6
    got = torch.autograd.grad(maps[direction].square().sum() + out.square().sum(), (q, k, v))
    exact = torch.autograd.grad(want.square().sum() + want_out.square().sum(), (q, k, v))
    assert all(relative_error(a, b) < 1e-6 for a, b in zip(got, exact, strict=True))
    plain, none = dense_attend(q, k, v, None)
    assert none == {}
    assert torch.equal(plain, torch.nn.functional.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_the_dense_arm_trains_the_same_thing(mode) -> None:
    """The same loss from the same start, up to rounding. The dense one makes tensors of N² elements."""
    losses, largest = {}, {}
    for arm in ("off", "on", "dense"):
        work = Workload(replace(SMALL, mode=mode, frames=9, height=64, width=96).resolved())
        with torch.no_grad():
            for parameter in work.parameters:
                parameter.add_(torch.full_like(parameter, 0.01))
        with LargestTensor() as watch, work._reading(arm):
            loss, _ = work.models[arm](work.inputs)
        losses[arm], largest[arm] = loss.item(), watch.elements
    assert losses["on"] == pytest.approx(losses["dense"], rel=1e-5)
    assert losses["on"] != pytest.approx(losses["off"], rel=1e-5)
    assert largest["dense"] >= work.tokens**2


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_no_tensor_of_a_tapped_attention_or_block_comes_near_n_squared(mode) -> None:
    work = Workload(replace(SMALL, mode=mode, height=640, width=640).resolved())
    assert work.tokens > 3000
    for largest in (largest_of_attention, largest_of_blocks):
        assert work.tokens * 64 <= largest(work) < work.tokens**2 / 8


@pytest.mark.slow
def test_every_figure_is_there_and_is_json() -> None:
    result = bench(SMALL)
    found = json.loads(json.dumps(asdict(result)))
    assert None not in found.values()
    assert found["n_tokens"] == 226 + 2 * 2 * 3
    assert (found["mode"], found["supervise_stride"], found["rounds"]) == ("centred", 1, 1)
    assert 0 < found["flops_overhead"] <= 0.01
    assert found["seconds_per_step"] > 0
    assert 0 < found["mfu"] < found["hfu"]
    assert found["peak_bytes"] > 1e8
    assert abs(found["peak_overhead_bytes"]) < 5e8
    whole, cached = (found["encoding_flops"][f"{how}_cache"] / 1e12 for how in ("without", "with"))
    assert whole == pytest.approx(149 + 2 * 4.8 + 2.1, rel=0.02)  # video, first frame and ID map, T5
    assert cached == pytest.approx(4.8, rel=0.02)
    assert set(found["alignment_seconds"]) == {"1", "2", "4", "8"}
    assert "238 tokens, 3 blocks of which 3 tapped" in describe(result)


@pytest.mark.slow
def test_the_ladder_reports_rungs_that_do_not_run(monkeypatch) -> None:
    from matrix_train.bench import ladder

    def measure(options: BenchOptions) -> tuple[float, float, int]:
        if options.checkpointing == "none":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if options.attention == "cudnn":
            raise RuntimeError("No available kernel\nmore")
        return 9.0, 2.0, 10

    monkeypatch.setattr(ladder, "_measure", measure)
    rungs = list(climb(SMALL))
    assert [rung.note for rung in rungs] == [
        "", "", "", "does not run: No available kernel", "does not fit in memory", "does not fit in memory",
        "", "",
    ]  # fmt: skip
    full, selective = rungs[:2]
    assert full.seconds == selective.seconds == 2.0
    assert full.flops_per_step > selective.flops_per_step > rungs[4].flops_per_step
    assert full.mfu == selective.mfu and full.hfu > selective.hfu > selective.mfu
    assert rungs[4].seconds is None
    assert "2.000 s a step" in str(full)
    assert str(rungs[4]).endswith("does not fit in memory")


def test_chosen_rungs_alone_are_climbed(monkeypatch: pytest.MonkeyPatch) -> None:
    from matrix_train.bench import ladder

    monkeypatch.setattr(ladder, "_measure", lambda options: (0.0, float(options.rounds), None))
    rungs = list(climb(replace(SMALL, rounds=None), (5, 1)))
    assert [rung.name for rung in rungs] == ["all activations kept", "every block formed again"]
    assert {rung.seconds for rung in rungs} == {3.0}
    with pytest.raises(UserError, match="no rung 9: give 1 to 8"):
        list(climb(SMALL, (1, 9)))


@pytest.mark.parametrize(
    ("backbone", "switches"),
    [
        ("cogvideox", {}),
        ("cogvideox", {"frozen": "fp8"}),
        ("cogvideox", {"swapped": 0.5}),
        ("wan21", {}),
        ("wan22", {}),
    ],
)
def test_a_rung_is_measured(backbone, switches) -> None:
    from matrix_train.bench import ladder

    options = replace(SMALL, backbone=backbone, checkpointing="selective", height=64, width=64, **switches)
    first, seconds, peak = ladder._measure(options.resolved())
    assert min(first, seconds) > 0
    assert peak is None


def test_choices_follow_the_device() -> None:
    cpu = BenchOptions(device="cpu").resolved()
    assert (cpu.heads, cpu.blocks, cpu.rounds) == (1, 6, 3)
    recipe = load_config(TINY.parent / "cogvideox_5b_i2v.yaml", [])
    assert (cpu.mode, cpu.supervise_stride) == (recipe.align.attention_map, recipe.align.supervise_stride)
    assert cpu.checkpointing == recipe.model.checkpointing
    assert (cpu.align.sga_blocks, cpu.align.spa_blocks) == ((3, 4), (5,))
    whole = BenchOptions(device="cpu", heads=48, blocks=42).resolved()
    assert (whole.align.sga_blocks, whole.align.spa_blocks, whole.lora) == ((7, 11), (12,), (128, 64))
    with pytest.raises(UserError, match="needs three at least, not 2"):
        Workload(BenchOptions(device="cpu", blocks=2).resolved())
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device here"):
            BenchOptions(device="cuda").resolved()
