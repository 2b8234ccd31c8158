"""What `fit --dry-run` says of memory, held against what PyTorch's allocator gave a real run."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.precompute import precompute
from matrix_train.plan.plan import plan_run
from tests.matrix_train.fitting import small_config, start


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
