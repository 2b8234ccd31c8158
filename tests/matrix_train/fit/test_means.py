"""Means over what has the number; a clip without roles is no zero."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from matrix_train.fit.means import Means
from matrix_train.fit.validate import Validator
from tests.matrix_train.fitting import small_config, start


def logs(aligned: float, **values: float) -> dict[str, torch.Tensor]:
    given = {"sga.aligned": aligned, **{name.replace("_", "."): value for name, value in values.items()}}
    return {name: torch.tensor(value) for name, value in given.items()}


def test_numbers_of_a_family_are_weighed_by_the_samples_that_have_them() -> None:
    means = Means()
    means.add(logs(1.0, sga=4.0, sga_weighted=4.0, sga_correlation=0.5, diffusion=1.0))
    means.add(logs(0.5, sga=1.0, sga_weighted=0.5, sga_correlation=0.2, diffusion=2.0))
    means.add(logs(0.0, sga=0.0, sga_weighted=0.0, sga_correlation=0.0, diffusion=6.0))
    assert means.read(Accelerator()) == pytest.approx(
        {"sga.aligned": 0.5, "sga": 3.0, "sga.weighted": 1.5, "sga.correlation": 0.4, "diffusion": 3.0}
    )


def test_what_no_sample_has_is_left_out_and_what_is_not_finite_stays() -> None:
    means = Means()
    means.add(logs(0.0, sga=float("nan"), sga_gain=2.0, loss=float("nan")))
    found = means.read(Accelerator())
    assert found.keys() == {"sga.aligned", "sga.gain", "loss"}
    assert math.isnan(found["loss"])


def test_a_pass_that_keeps_processes_in_step_counts_nothing() -> None:
    means = Means()
    means.add(logs(1.0, loss=1.0))
    means.add(logs(1.0, loss=9.0), times=0.0)
    assert means.read(Accelerator())["loss"] == 1.0


def test_a_held_out_clip_without_roles_does_not_change_what_the_others_say(dataset: Path, tmp_path: Path) -> None:
    run = start(small_config(dataset, tmp_path / "run", "validation.every=3", "validation.videos=0"))
    validator = run._validator()
    assert isinstance(validator, Validator)
    alone, bare = validator.clips[0], validator.clips[1]
    none: dict[Any, torch.Tensor] = {family: torch.zeros_like(p) for family, p in bare[0].present.items()}
    bare[0].present.update(none)
    validator.clips = [alone]
    one = validator.measure(run.model)
    validator.clips = [alone, bare]
    two = validator.measure(run.model)
    assert one.keys() == two.keys()
    assert (one["sga.aligned"], two["sga.aligned"]) == (1.0, 0.5)
    for name in one.keys() - {"diffusion", "softmax.diffusion", "loss"}:
        if not name.endswith((".weighted", ".aligned")):
            assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert two["diffusion"] != one["diffusion"]
