"""A run that is killed at a random place and resumed gives what the undisturbed one gives, bit for bit."""

import shutil
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from matrix_train.fit.checkpoint import checkpoints
from tests.matrix_train.fitting import Trainer, launch, metrics, sets, settings, small_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("processes", "mode"),
    [(1, "softmax"), pytest.param(2, "centred", marks=[pytest.mark.production, pytest.mark.long])],
)
def test_killed_and_resumed_is_undisturbed(
    dataset: Path, tmp_path: Path, trainer: Trainer, processes: int, mode: str
) -> None:
    """The victim is started as users do, with a hash seed of its own."""
    common = (
        "train.steps=10", "checkpoint.every=3", "train.accumulate=2", "data.workers=1", f"align.attention_map={mode}",
    )  # fmt: skip
    small_config(dataset, tmp_path / "none", *common)  # makes the model once, for all
    calm, hurt = tmp_path / "calm", tmp_path / "hurt"
    trainer.finish(processes, *sets(settings(dataset, calm, *common)))
    words = [*sets(settings(dataset, hurt, *common)), "--resume", "auto"]
    victim = launch(processes, *words)
    try:
        # Beyond a checkpoint, and beyond numbers that must be cut off again.
        while len(_lines(hurt)) < 5:
            assert victim.poll() is None, victim.communicate()[0]
            time.sleep(0.01)
    finally:
        # torchrun gives its workers sessions of their own, so the group is not enough.
        for process in [*psutil.Process(victim.pid).children(recursive=True), victim]:
            process.kill()
        victim.communicate()
    assert checkpoints(hurt)[-1].name == "step-00000003"
    trainer.finish(processes, *words)
    assert metrics(hurt) == metrics(calm)
    assert [line["step"] for line in metrics(hurt)] == list(range(1, 11))
    for name in ("trainable.safetensors", "optimizer.safetensors"):
        last = "checkpoints/step-00000010"
        one, other = load_file(hurt / last / name), load_file(calm / last / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def _lines(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_shards_of_weights_train_as_copies_do(dataset: Path, tmp_path: Path, trainer: Trainer) -> None:
    """FSDP over two processes, frozen bf16 beside trained float32, calibrated, validated and resumed; against DDP."""
    common = (
        "train.steps=4", "checkpoint.every=2", "validation.every=2", "validation.videos=0", "validation.clips=3",
        "model.precision=bf16", "model.checkpointing=full", "align.calibrate=true", "optim.decoder_lr=1e-6",
    )  # fmt: skip
    small_config(dataset, tmp_path / "none", *common)
    runs = {}
    for parallel in ("ddp", "fsdp"):
        run = tmp_path / parallel
        words = sets(settings(dataset, run, *common, f"train.parallel={parallel}"))
        trainer.finish(2, *words)
        runs[parallel] = metrics(run)
    for one, other in zip(runs["ddp"], runs["fsdp"], strict=True):
        for name in set(one) & {"loss", "diffusion", "val.diffusion", "val.sga.aas"}:
            assert one[name] == pytest.approx(other[name], rel=2e-3), (one["step"], name)
    levels = {}
    for parallel in runs:
        held = load_file(checkpoints(tmp_path / parallel)[-1] / "trainable.safetensors")
        # Set at step 0, each block's own; the rate leaves them where they were set.
        levels[parallel] = torch.cat([held["decoders.sga.level"], held["decoders.spa.level"]])
    assert levels["ddp"].abs().min() > 1e-3
    torch.testing.assert_close(levels["fsdp"], levels["ddp"], rtol=1e-2, atol=1e-4)
    shutil.rmtree(checkpoints(tmp_path / "fsdp")[-1])  # as if killed before step 4 was whole
    words = sets(settings(dataset, tmp_path / "fsdp", *common, "train.parallel=fsdp"))
    trainer.finish(2, *words, "--resume", "auto")
    assert metrics(tmp_path / "fsdp") == runs["fsdp"]


@pytest.mark.production
@pytest.mark.long
def test_compiled_shards_train_as_eager_ones_do(dataset: Path, tmp_path: Path, trainer: Trainer) -> None:
    """FSDP over two processes and the compiler that a user gets: weights are gathered around a graph, not in it.

    Blocks 0 and 2 are compiled, with checkpointing for training and without for validation.
    """
    common = (
        "align.sga_blocks=[1]", "align.spa_blocks=[3]", "lora.blocks=[1]", "train.steps=2", "checkpoint.every=2",
        "model.checkpointing=selective", "model.precision=bf16", "validation.every=2", "validation.videos=0",
        "validation.clips=2", "train.parallel=fsdp",
    )  # fmt: skip
    small_config(dataset, tmp_path / "none", *common)
    runs = {}
    for compiled in ("false", "true"):
        run = tmp_path / compiled
        trainer.finish(2, *sets(settings(dataset, run, *common, f"model.compile={compiled}")))
        runs[compiled] = metrics(run)
    for eager, other in zip(runs["false"], runs["true"], strict=True):
        for name in eager.keys() & {"loss", "norm", "diffusion", "val.diffusion", "val.sga.aas"}:
            assert other[name] == pytest.approx(eager[name], rel=1e-2), (eager["step"], name)
