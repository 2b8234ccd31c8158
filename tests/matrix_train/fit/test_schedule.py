"""Learning rate and λ as functions of the step."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from matrix_train.attention.roles import FAMILY_ROLES
from matrix_train.fit.checkpoint import checkpoints
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run
from matrix_train.fit.schedule import cosine_with_warmup
from tests.matrix_train.fitting import metrics, small_config, start


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


def test_a_run_weighs_with_it_and_a_family_that_agrees_stops_for_good(dataset: Path, tmp_path: Path) -> None:
    """Any correlation above zero is good enough here. What is logged of a step is what that step was weighed with."""
    config = small_config(
        dataset, tmp_path / "run", "train.steps=4", "align.warmup=2", "align.decay=0.5", "align.stop_at=1e-9",
        "validation.every=2", "validation.clips=1", "validation.videos=0",
    )  # fmt: skip
    said = io.StringIO()
    Run(config, make_accelerator(config), Console(file=said, width=400)).start(resume=False).train()
    lines, stopped = metrics(tmp_path / "run"), set[str]()
    for line in lines:
        for family, scale in (("sga", config.align.sga), ("spa", config.align.spa)):
            if "loss" in line:
                share = 0.0 if family in stopped else cosine_with_warmup(line["step"] - 1, 4, 2, 0.5)
                assert line[f"share.{family}"] == pytest.approx(share)
                weighted = scale * share * line[family] * line[f"{family}.aligned"]
                assert line[f"{family}.weighted"] == pytest.approx(weighted)
            elif line[f"val.{family}.correlation"] > 0:
                stopped.add(family)
    assert stopped == {family for family in FAMILY_ROLES if f"note: {family} has reached" in said.getvalue()} != set()
    assert any(line.get(f"share.{family}", 0) > 0 for line in lines for family in FAMILY_ROLES)
    shutil.rmtree(checkpoints(tmp_path / "run")[-1])
    start(config, resume=True).train()
    assert metrics(tmp_path / "run") == lines
