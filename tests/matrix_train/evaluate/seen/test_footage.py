"""Videos as a judge gets them, whatever their width and turn; and the plain measures, held against worked-out cases."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from matrix_train.evaluate.seen import footage
from matrix_train.evaluate.seen.footage import watch
from tasks.world.encode import turn_display

HEIGHT, WIDTH = 48, 160
Pictures = Sequence[NDArray[np.uint8]]


def written(path: Path, pictures: Pictures) -> Path:
    """Without loss, at ten frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def grey(*values: int) -> Pictures:
    return [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in values]


@pytest.mark.parametrize("width", [90, 101, 360, 854])
def test_every_width_comes_as_it_is(tmp_path: Path, width: int):
    pictures = list(np.random.default_rng(0).integers(0, 256, (7, 32, width, 3), dtype=np.uint8))
    seen = watch(written(tmp_path / "v.mkv", pictures))
    assert (seen.height, seen.width, seen.kept) == (32, width, (0, 5, 6))
    assert np.array_equal(seen.frames, np.stack(pictures)[[0, 5, 6]])


def test_a_frame_that_lies_on_its_side_is_seen_upright(tmp_path: Path):
    pictures = grey(*range(60, 67))
    for picture in pictures:
        picture[:10, :20] = 255  # coded top left, on screen top right
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    turn_display(path, WIDTH)
    seen = watch(path)
    assert (seen.height, seen.width) == (WIDTH, HEIGHT)
    white = seen.frames[0].mean(2) > 200
    assert white[:18, -8:].all() and not white[:, : WIDTH // 8].any() and not white[30:].any()


def test_what_our_own_decoding_gets_wrong_is_a_problem_of_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(footage, "CHILD", "tests.tasks.ingest.sandbox_jobs:wrong")
    with pytest.raises(ValueError, match="no such codec"):
        watch(written(tmp_path / "v.mkv", grey(0, 1)))


def test_smoothness_by_hand(tmp_path: Path):
    """1 of a still and of an even fade; where black and white alternate every frame is a full scale from its
    neighbours' mean; of one jump among five frames, two frames are half a jump off."""
    for values, expected in (
        ((9, 9, 9), 1),
        ((10, 20, 30, 40), 1),
        ((0, 255, 0, 255), 0),
        ((0, 0, 0, 51, 51), 1 - 0.2 / 3),
    ):
        assert watch(written(tmp_path / "v.mkv", grey(*values))).measures.smoothness == pytest.approx(expected)


def test_dynamics_are_the_way_of_what_moves_in_widths_a_second(tmp_path: Path):
    """A third of a field of noise goes 2 of 160 columns a frame, ten times a second."""
    noise = (
        np.random.default_rng(0)
        .integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
        .repeat(4, 0)
        .repeat(4, 1)
    )
    moving = [np.concatenate([noise[:32], np.roll(noise[32:], 2 * k, 1)]) for k in range(6)]
    still = watch(written(tmp_path / "a.mkv", [noise] * 6)).measures
    assert watch(written(tmp_path / "b.mkv", moving)).measures.dynamics == pytest.approx(2 / 160 * 10, rel=0.25)
    assert still.dynamics == pytest.approx(0, abs=1e-3)


def test_sharpness_is_the_spread_of_the_laplacian(tmp_path: Path):
    """Of columns 0, 0, 0, 90, … its values are 0, 90, −180, 90: a mean of 0 and a variance of 90²·6/4."""
    lines = grey(0, 0)
    for picture in lines:
        picture[:, 3::4] = 90
    assert watch(written(tmp_path / "a.mkv", grey(9, 9))).measures.sharpness == 0
    assert watch(written(tmp_path / "b.mkv", lines)).measures.sharpness == pytest.approx(90**2 * 6 / 4, rel=0.02)
