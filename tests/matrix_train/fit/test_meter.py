"""The clock counts what the device does after a step's Python has returned, and nothing beside training."""

from pathlib import Path

import pytest
import torch

from matrix_train.fit import meter as module
from matrix_train.fit.meter import Meter
from tests.matrix_train.fitting import small_config


def test_a_device_that_works_on_after_the_step_is_waited_for_once(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU: a step's Python takes 1 s, its work 10 s, and only a wait lets the clock see that."""
    now, behind, waits = [0.0], [0.0], []

    def wait_for(device: torch.device) -> None:
        waits.append(device)
        now[0] += behind[0]
        behind[0] = 0.0

    monkeypatch.setattr(module, "wait_for", wait_for)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "matmul_rate", lambda *_: 1e9)
    meter = Meter(small_config(dataset, tmp_path / "run", "model.checkpointing=full"), torch.device("cpu"))

    def step() -> None:
        meter.begin()
        with meter.waiting():
            now[0] += 0.5
        now[0] += 0.5
        behind[0] += 9.0

    for _ in range(4):
        step()
    first = meter.read()
    assert len(waits) == 1
    assert first["seconds_per_step"] == 10.0
    assert first["data_wait"] == 2.0 / 40.0
    assert first["mfu"] == meter.cost.useful / 10.0 / 1e9
    assert first["hfu"] == meter.cost.done / 10.0 / 1e9 > first["mfu"]
    now[0] += 1000.0  # a validation
    step()
    meter.pause()
    now[0] += 1000.0  # a checkpoint between two readings
    step()
    assert meter.read()["seconds_per_step"] == 10.0
    assert meter.spent == 60.0
