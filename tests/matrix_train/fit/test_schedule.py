"""Learning rate and λ as functions of the step."""

from pathlib import Path

import pytest
from rich.console import Console

from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run
from matrix_train.fit.schedule import cosine_with_warmup
from tests.matrix_train.fitting import small_config


def test_up_over_the_warm_up_and_down_to_what_is_left() -> None:
    assert [cosine_with_warmup(step, 6, 2) for step in range(3)] == [0.5, 1.0, 1.0]
    assert cosine_with_warmup(4, 6, 2) == pytest.approx(0.5)
    assert cosine_with_warmup(6, 6, 2) == pytest.approx(0.0)
    assert cosine_with_warmup(6, 6, 2, left=0.3) == pytest.approx(0.3)
    assert {cosine_with_warmup(step, 6, 0, left=1.0) for step in range(7)} == {1.0}


def test_lambda_grows_and_falls_and_stops_by_family(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path, "align.warmup=2", "align.decay=0.5")
    run = Run(config, make_accelerator(config), Console(quiet=True))
    found = []
    for run.step in (0, 1, 2, 6):
        found.append(run._shares()["sga"])
    assert found == pytest.approx([0.5, 1.0, 1.0, 0.5])
    run.reached = {"sga"}
    assert run._shares() == {"sga": 0.0, "spa": pytest.approx(0.5)}
