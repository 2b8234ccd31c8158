"""What `fit --dry-run` says of memory, held against what PyTorch's allocator gave a real run."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from matrix_train.config import load_config
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.precompute import precompute
from matrix_train.fit.samples import write_samples
from matrix_train.fit.validate import Validator
from matrix_train.plan.memory import PeakBytes
from matrix_train.plan.plan import plan_run
from tests.matrix_train.fitting import TINY, settings, small_config, start


@pytest.mark.parametrize("turn", ["encoding", "activations"])
def test_the_plan_is_within_a_tenth_of_the_measured_peak(dataset: Path, tmp_path: Path, turn: str) -> None:
    """Where encoding is the hungriest turn, and where a cache leaves it to the step. Two steps: the second has AdamW's
    moments. What lay there before is counted by its storages, all that came and went after by the allocator's own
    account, byte for byte."""
    settings = ["train.steps=2"]
    if turn == "activations":
        settings.append(f"train.cache={tmp_path / 'cache'}")
        config = small_config(dataset, tmp_path / "run", *settings)
        precompute(config, make_accelerator(config), Console(quiet=True))
    config = small_config(dataset, tmp_path / "run", *settings)
    plan = plan_run(config, torch.device("cpu"))
    assert (plan.encoding_bytes > plan.activation_bytes) == (turn == "encoding")
    run = start(config)
    modules = [run.parts.model, *run.parts.encoders.modules()]
    held = {t.untyped_storage()._cdata: t.nbytes for m in modules for t in (*m.parameters(), *m.buffers())}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as account:
        run.train()
    live = peak = 0
    for event in account.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert plan.memory_bytes == pytest.approx(sum(held.values()) + peak, rel=0.1)


@pytest.mark.parametrize("recipe", ["tiny", "tiny_wan21", "tiny_wan22"])
def test_sampling_takes_what_the_plan_says(dataset: Path, tmp_path: Path, recipe: str) -> None:
    """Of the call that validation makes, pipeline and all: CogVideoX asks both prompts at once, Wan one by one."""
    more = (
        f"model.path={dataset.parent / f'model-{recipe}'}", "validation.every=1",
        "validation.videos=1", "validation.video_every=1", "validation.sampling_steps=2", "validation.guidance=3",
        "train.batch_size=1",
    )  # fmt: skip
    config = load_config(TINY.with_name(f"{recipe}.yaml"), settings(dataset, tmp_path / "run", *more))
    make_random_model(config)
    run = start(config)
    validator = Validator(config, run.parts, run.accelerator, [next(run.stream)])
    with PeakBytes() as sampling:
        write_samples(config, run.parts, validator.sampled, validator.empty, tmp_path, torch.device("cpu"))
    assert plan_run(config, torch.device("cpu")).sampling_bytes == pytest.approx(sampling.peak, rel=0.1)
