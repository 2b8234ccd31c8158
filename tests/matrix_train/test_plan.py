"""`fit --dry-run`: what it says is what the run does."""

from pathlib import Path

import pytest
import torch

from matrix_train.errors import UserError
from matrix_train.plan import lines, plan_run, planned_step_flops
from tests.matrix_train.fitting import small_config, start

CPU = torch.device("cpu")


def test_the_plan_is_the_run(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", "train.accumulate=2")
    plan = plan_run(config, CPU)
    run = start(config)
    assert sum(plan.trainable.values()) == sum(p.numel() for p in run.parts.trainable().values())
    assert plan.frozen == sum(p.numel() for p in run.parts.model.parameters() if not p.requires_grad)
    one = planned_step_flops(config, run.parts.backbone)
    assert plan.step_flops == one * config.train.batch_size * 2
    assert 0 < plan.alignment_flops < plan.step_flops / 5
    batch = next(run.stream)
    assert plan.batch["video"] == list(batch.video.shape)
    assert plan.batch["latents"] == [2, 3, 16, 8, 12]
    assert plan.state_bytes == 16 * sum(plan.trainable.values())
    said = "\n".join(lines(plan))
    for word in ("trainable", "TFLOP", "memory", "at least", "first batch"):
        assert word in said


def test_checkpointing_costs_work_and_saves_memory(dataset: Path, tmp_path: Path) -> None:
    plans = {
        kind: plan_run(small_config(dataset, tmp_path / kind, f"model.checkpointing={kind}"), CPU)
        for kind in ("none", "selective", "full")
    }
    assert plans["none"].step_flops < plans["selective"].step_flops < plans["full"].step_flops
    assert plans["none"].activation_bytes > plans["selective"].activation_bytes >= plans["full"].activation_bytes


def test_without_alignment_nothing_is_planned_for_it(dataset: Path, tmp_path: Path) -> None:
    plan = plan_run(small_config(dataset, tmp_path, "align.sga=0", "align.spa=0"), CPU)
    assert plan.alignment_flops == 0
    assert "decoders" not in plan.trainable


def test_a_prompt_length_that_does_not_fit_is_said(dataset: Path, tmp_path: Path) -> None:
    small_config(dataset, tmp_path)
    with pytest.raises(UserError, match="takes prompts of 48 tokens"):
        plan_run(small_config(dataset, tmp_path, "data.max_tokens=40"), CPU)
