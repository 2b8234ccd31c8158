"""What validations tell beside losses."""

import numpy as np
import pytest

from matrix_train.fit.samples import Look
from matrix_train.fit.watch import compared, reached


def test_a_family_stops_once_its_maps_agree_with_the_masks() -> None:
    lines = [
        {"step": 0, "val.sga.correlation": 0.1, "val.spa.correlation": None},
        {"step": 5, "val.sga.correlation": 0.5, "val.spa.correlation": 0.2},
        {"step": 9, "val.sga.correlation": 0.3},
    ]
    assert reached(lines, None) == set()
    assert reached(lines, 0.4) == {"sga"}
    assert reached(lines, 0.2) == {"sga", "spa"}
    assert reached(lines[:1], 0.4) == set()


def test_a_look_is_of_saturation_and_contrast() -> None:
    grey = np.full((2, 4, 4, 3), 90, np.uint8)
    assert Look.at(grey) == Look(0.0, pytest.approx(0.0, abs=1e-6))
    half = grey.copy()
    half[:, :, :2] = (255, 0, 0)
    look = Look.at(half)
    assert look.saturation == pytest.approx(0.5)
    assert look.contrast == pytest.approx((90 / 255 - 0.2126) / 2, rel=1e-3)


def test_videos_that_run_away_are_told() -> None:
    values, notes = compared([Look(0.3, 0.2), Look(0.5, 0.2)], [])
    assert values == pytest.approx({"val.samples.saturation": 0.4, "val.samples.contrast": 0.2})
    assert notes == []
    values, notes = compared([Look(0.8, 0.21)], [{"step": 0, **values}, {"step": 4, "val.samples.saturation": 9.0}])
    assert values["val.samples.saturation.of_first"] == pytest.approx(2.0)
    assert [note.split(":")[0] for note in notes] == ["saturation of sampled videos is 2.00 times that of step 0"]
