"""What the configuration says is what happens, whatever `accelerate launch` hands on."""

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.matrix_train.fitting import metrics, small_config, start


def test_the_environment_changes_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, hostile = (small_config(dataset, tmp_path / name, "train.steps=2") for name in ("plain", "hostile"))
    AcceleratorState._reset_state(True)  # one process, one state: the first run's would hide the variables
    start(plain).train()
    AcceleratorState._reset_state(True)
    defaults = {
        "GRADIENT_ACCUMULATION_STEPS": "4", "MIXED_PRECISION": "bf16", "DYNAMO_BACKEND": "EAGER", "USE_FSDP": "true",
        "USE_DEEPSPEED": "true", "USE_MEGATRON_LM": "true", "USE_PARALLELISM_CONFIG": "true", "FP8_BACKEND": "TE",
    }  # fmt: skip
    for name, value in defaults.items():
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    run = start(hostile)
    assert run.accelerator.mixed_precision == "no"
    assert run.accelerator.gradient_accumulation_steps == 1
    run.train()
    assert metrics(tmp_path / "hostile") == metrics(tmp_path / "plain")
