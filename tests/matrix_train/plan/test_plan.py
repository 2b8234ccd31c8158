"""`fit --dry-run`: what it says is what the run does."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from matrix_train.backbones.configured import plan_backbone
from matrix_train.errors import UserError
from matrix_train.plan.cost import planned_step, step_cost
from matrix_train.plan.memory import PeakBytes, peak_bytes
from matrix_train.plan.plan import lines, plan_run
from tests.matrix_train.fitting import small_config, start

CPU = torch.device("cpu")


def test_the_plan_is_the_run(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", "train.accumulate=2")
    plan = plan_run(config, CPU)
    run = start(config)
    assert sum(plan.trainable.values()) == sum(p.numel() for p in run.parts.trainable().values())
    assert plan.frozen == sum(p.numel() for p in run.parts.model.parameters() if not p.requires_grad)
    cost = step_cost(config)
    assert plan.step_flops == cost.done == cost.model + cost.encoding
    assert 0 < plan.alignment_flops < plan.step_flops / 5
    batch = next(run.stream)
    assert plan.batch["video"] == list(batch.video.shape)
    assert plan.batch["latents"] == [2, 3, 16, 8, 12]
    assert plan.state_bytes == 16 * sum(plan.trainable.values())
    said = "\n".join(lines(plan))
    for word in ("trainable", "TFLOP", "VAE and text encoder", "memory", "at least", "first batch"):
        assert word in said


def test_checkpointing_costs_work_and_saves_memory(dataset: Path, tmp_path: Path) -> None:
    costs, held = {}, {}
    for kind in ("none", "selective", "full"):
        config = small_config(dataset, tmp_path / kind, f"model.checkpointing={kind}")
        costs[kind], held[kind] = step_cost(config), peak_bytes(planned_step(config, plan_backbone(config)))
    assert {cost.useful for cost in costs.values()} == {costs["none"].done}
    assert costs["none"].done < costs["selective"].done < costs["full"].done
    assert held["none"] > held["selective"] >= held["full"]


def test_without_alignment_nothing_is_planned_for_it(dataset: Path, tmp_path: Path) -> None:
    plan = plan_run(small_config(dataset, tmp_path, "align.sga=0", "align.spa=0"), CPU)
    assert plan.alignment_flops == 0
    assert "decoders" not in plan.trainable


def test_no_weights_are_read_and_a_cache_leaves_the_text_encoder_out(dataset: Path, tmp_path: Path) -> None:
    whole = small_config(dataset, tmp_path)
    model = Path(shutil.copytree(whole.model.path, tmp_path / "model"))
    parts = start(small_config(dataset, tmp_path / "run")).parts
    for file in model.glob("*/*.safetensors"):
        file.unlink()
    plan = plan_run(small_config(dataset, tmp_path, f"model.path={model}"), CPU)
    frozen, vae, text = (
        sum(t.numel() for t in (*module.parameters(), *module.buffers()) if not t.requires_grad)
        for module in (parts.backbone.model, *parts.encoders.modules())
    )
    assert plan.weight_bytes == 4 * (frozen + vae + text)
    cached = plan_run(small_config(dataset, tmp_path, f"model.path={model}", "train.cache=somewhere"), CPU)
    assert plan.weight_bytes - cached.weight_bytes == 4 * text
    # Of nine frames the first alone is encoded, and no ID map.
    assert cached.encoding_flops < plan.encoding_flops / 4
    assert cached.encoding_bytes < plan.encoding_bytes


def test_filling_the_cache_is_counted_where_there_is_something_to_fill(dataset: Path, tmp_path: Path) -> None:
    """All encoders and a clip, before anything else: where blocks are swapped out it may be the largest turn."""
    config = small_config(dataset, tmp_path / "run", f"train.cache={tmp_path / 'cache'}")
    filled, plan = plan_run(config, CPU), plan_run(config, CPU, fills=True)
    encoders = start(small_config(dataset, tmp_path / "run")).parts.encoders
    held = sum(t.nbytes for module in encoders.modules() for t in (*module.parameters(), *module.buffers()))
    video = torch.zeros(1, 9, 3, 64, 96, dtype=torch.uint8)
    with PeakBytes() as encoding:
        encoders.encode(video, video[:, 0], torch.zeros(1, 48, dtype=torch.long))
    assert plan.filling_bytes == pytest.approx(held + encoding.peak, rel=0.1)
    assert filled.filling_bytes == 0
    assert plan.memory_bytes == max(filled.memory_bytes, plan.filling_bytes)
    assert "GB to fill the cache" in "\n".join(lines(plan)) and "to fill" not in "\n".join(lines(filled))


def test_sampling_and_encoding_are_counted(dataset: Path, tmp_path: Path) -> None:
    """What the plan says is what the same calls take on a CPU; the peak is of the hungriest turn."""
    videos = ("validation.every=1", "validation.videos=1", "validation.video_every=1")
    config = small_config(dataset, tmp_path / "run", *videos)
    plan = plan_run(config, CPU)
    parts = start(config).parts
    latents = torch.zeros(1, 3, 16, 8, 12)
    with PeakBytes() as decoding:
        parts.encoders.decode(latents)
    assert plan.sampling_bytes >= decoding.peak > 0
    with PeakBytes() as encoding:
        parts.encoders.video(torch.zeros(2, 9, 3, 64, 96, dtype=torch.uint8))
    assert plan.encoding_bytes == pytest.approx(encoding.peak, rel=0.1)
    assert plan.memory_bytes == plan.weight_bytes + plan.state_bytes + max(
        plan.activation_bytes, plan.encoding_bytes, plan.sampling_bytes
    )
    assert plan_run(small_config(dataset, tmp_path / "none", "validation.videos=0"), CPU).sampling_bytes == 0


def test_clips_that_masks_cannot_be_compared_with_are_refused(dataset: Path, tmp_path: Path) -> None:
    """A token of CogVideoX 1.5 spans eight frames after the first."""
    config = small_config(dataset, tmp_path)
    model = Path(shutil.copytree(config.model.path, tmp_path / "model"))
    file = model / "transformer/config.json"
    held = json.loads(file.read_text()) | {"patch_size_t": 2, "sample_height": 8, "sample_width": 12}
    file.write_text(json.dumps(held))
    assert plan_backbone(small_config(dataset, tmp_path, f"model.path={model}")).version == "1.5"
    with pytest.raises(UserError, match=r"data\.frames is 5, but .* spans 8 frames after the first: give 1 more than"):
        plan_backbone(small_config(dataset, tmp_path, f"model.path={model}", "data.frames=5"))


def test_a_prompt_length_that_does_not_fit_is_said(dataset: Path, tmp_path: Path) -> None:
    small_config(dataset, tmp_path)
    with pytest.raises(UserError, match="takes prompts of 48 tokens"):
        plan_run(small_config(dataset, tmp_path, "data.max_tokens=40"), CPU)
