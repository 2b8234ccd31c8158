"""Clips in which nothing moves are told from those in which little does."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas import Reason
from tasks.ingest import sandbox
from tasks.ingest.motion import motion
from tests.tasks.ingest.running import SMALL, run
from tests.tasks.ingest.striped import write

W, H = 320, 240
COARSE = {"preset": "medium", "crf": "42", "g": "12"}
FINE = {"preset": "medium", "crf": "20", "g": "12"}


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


def room(seed: int = 1) -> NDArray[np.uint8]:
    """A picture with soft and hard detail."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(40, 216, (15, 20, 3), dtype=np.uint8), (W, H), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft.astype(int) + rng.integers(-25, 26, (H, W, 3)), 0, 255).astype(np.uint8)


def noise(i: int, sigma: float) -> NDArray[np.uint8]:
    grain = np.random.default_rng(100 + i).normal(0, sigma, (H, W, 3))
    return np.clip(room() + grain, 0, 255).astype(np.uint8)


def ball(i: float, radius: float, speed: float, colour=(200, 60, 40)) -> NDArray[np.uint8]:
    """A ball that moves to the right over the room, `speed` pixels a frame."""
    image = room()
    centre = (int((60 + speed * i) * 16), 120 * 16)
    cv2.circle(image, centre, int(radius * 16), colour, -1, cv2.LINE_AA, 4)
    return image


def pan(i: int, speed: float) -> NDArray[np.uint8]:
    wide = np.hstack([room(1), room(2)])
    return cv2.warpAffine(wide, np.array([[1.0, 0, -speed * i], [0, 1, 0]]), (W, H))


STILL = {
    "a frozen picture": ("a.mp4", [room()] * 36, {"options": FINE}),
    "coarsely encoded": ("a.mp4", [room()] * 36, {"options": COARSE}),
    "coarse mpeg4": ("a.avi", [room()] * 36, {"codec": "mpeg4", "options": {"b": "400000", "g": "12"}}),
    "noise": ("a.mp4", [noise(i, 5) for i in range(36)], {"options": FINE}),
    "noise, coarsely encoded": ("a.mp4", [noise(i, 5) for i in range(36)], {"options": COARSE}),
    "a fade": ("a.mp4", [np.clip(room().astype(int) + 2 * i, 0, 255).astype(np.uint8) for i in range(36)],
               {"options": FINE}),
    "black": ("a.mp4", [np.zeros((H, W, 3), np.uint8)] * 36, {"options": FINE}),
    "motion jpeg": ("a.mkv", [room()] * 36, {"codec": "mjpeg", "pixels": "yuvj420p", "options": {"b": "2000000"}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", STILL)
def test_a_still_source_is_rejected_for_being_one(tmp_path: Path, kind: str):
    name, pictures, form = STILL[kind]
    row = run(write(tmp_path / name, pictures, **form), tmp_path / "out")
    assert row.reason is Reason.NO_MOTION, (row.reason, row.detail)
    assert "2.25 s" in row.detail and not (tmp_path / "out").exists()
    assert run(tmp_path / name, tmp_path, SMALL.model_copy(update={"min_motion": 0.0})).payload is not None


MOVING = {
    "a small ball": [ball(i, 4, 2) for i in range(36)],
    "a tiny ball": [ball(i, 2.5, 3) for i in range(36)],
    "a slow ball": [ball(i, 10, 0.1) for i in range(36)],
    "a dim ball": [ball(i, 8, 2, (130, 130, 130)) for i in range(36)],
    "a ball that moves for half a second": [ball(min(max(i - 9, 0), 6), 8, 4) for i in range(36)],
    "a slow pan": [pan(i, 0.3) for i in range(36)],
    "a fast pan": [pan(i, 5) for i in range(36)],
}


@pytest.mark.parametrize("options", [FINE, COARSE], ids=["fine", "coarse"])
@pytest.mark.parametrize("kind", MOVING)
def test_little_motion_is_motion(tmp_path, kind, options):
    if options is COARSE and kind in ("a tiny ball", "a slow ball", "a dim ball", "a slow pan"):
        pytest.skip("what such an encoder leaves of it is no more than its noise")
    row = run(write(tmp_path / "a.mp4", MOVING[kind], options=options), tmp_path)
    assert row.payload is not None, row.detail


def test_still_windows_go_the_others_stay_and_both_are_on_record(tmp_path):
    pictures = [ball(0, 12, 0)] * 60 + [ball(i, 12, 2) for i in range(60)] + [ball(59, 12, 2)] * 30
    settings = SMALL.model_copy(update={"max_windows_per_scene": 9, "max_windows_per_source": 9})
    row = run(write(tmp_path / "a.mp4", pictures, options=FINE), tmp_path, settings)
    windows = [(c.window.index, c.window.start_s) for c in row.payload.clips]
    assert windows == [(2, 4.5), (3, 6.75), (4, 9.0)]
    assert [(s.start_s, s.end_s) for s in row.payload.still] == [(0.0, 4.5)]


def test_still_windows_do_not_use_up_the_number_of_windows(tmp_path):
    pictures = [ball(0, 12, 0)] * 60 + [ball(i, 12, 2) for i in range(30)]
    settings = SMALL.model_copy(update={"max_windows_per_scene": 1, "max_windows_per_source": 1})
    row = run(write(tmp_path / "a.mp4", pictures, options=FINE), tmp_path, settings)
    assert [c.window.index for c in row.payload.clips] == [2]


def test_a_single_picture_is_not_asked_to_move(tmp_path):
    settings = SMALL.model_copy(update={"frames": 1})
    assert run(write(tmp_path / "a.mp4", [room()] * 12, options=FINE), tmp_path, settings).payload is not None


def test_motion_is_measured_in_levels_of_a_cell():
    pictures = [np.full((90, 120, 3), 100, np.uint8) for _ in range(3)]
    pictures[1][30:33, 60:63] = 140
    assert motion(pictures) == 40 and motion(pictures[:1]) == 0
    pictures[2][:] = 200
    assert motion(pictures) == 40, "all of it grew brighter"
