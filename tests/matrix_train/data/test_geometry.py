"""Video, masks and ID map go through one map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_train.data.geometry import Geometry, drawn_to_flip, names_side


def test_a_clip_of_the_right_size_stays_as_it_is() -> None:
    video = np.zeros((5, 32, 48, 3), np.uint8)
    geometry = Geometry(5, 32, 48)
    assert geometry.video(video) is video
    assert geometry.labels(video[..., 0]).base is video


def test_frames_are_taken_from_the_first_on() -> None:
    assert list(Geometry(5, 16, 16, frame_step=3).taken) == [0, 3, 6, 9, 12]
    assert Geometry(49, 16, 16).span == 49
    assert Geometry(49, 16, 16, 2).span == 97


sides = st.integers(20, 90)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, top=st.floats(0, 0.6), left=st.floats(0, 0.6), flip=st.booleans())
def test_masks_stay_on_what_they_cover(height, width, top, left, flip) -> None:
    """A white box on black, scaled as video and as mask: where the video is mostly white, there is the mask."""
    mask = np.zeros((height, width), dtype=bool)
    mask[int(top * height) : int(top * height) + height // 3, int(left * width) : int(left * width) + width // 3] = True
    geometry = Geometry(1, 48, 64)
    video = geometry.video(np.repeat(mask[None, :, :, None] * np.uint8(255), 3, -1), flip)
    label = geometry.labels(mask, flip)
    assert video.shape == (1, 48, 64, 3)
    assert label.shape == (48, 64)
    # They may differ on the outline only, by the part of a pixel.
    outline = 4 * (48 + 64) / 4
    assert np.count_nonzero((video[0, ..., 0] > 127) != label) <= outline / 2
    sure = video[0, ..., 0]
    assert label[sure == 255].mean(dtype=float) >= 0.9 if (sure == 255).any() else True
    assert not label[sure == 0].any() or label[sure == 0].mean() < 0.1


def test_halving_takes_the_middle_and_cuts_the_sides_evenly() -> None:
    labels = np.arange(32 * 68, dtype=np.int64).reshape(32, 68) % 251
    cut = Geometry(1, 16, 32).labels(labels.astype(np.uint8))
    # 68 columns become 34, of which one goes on either side; the nearest centre is the odd pixel of each pair.
    assert np.array_equal(cut, labels[1::2, 3:67:2])


def test_flip_mirrors_both() -> None:
    rng = np.random.default_rng(0)
    video, labels = rng.integers(0, 255, (2, 16, 16, 3), dtype=np.uint8), rng.integers(0, 9, (16, 16), dtype=np.uint8)
    geometry = Geometry(2, 16, 16)
    assert np.array_equal(geometry.video(video, True), video[:, :, ::-1])
    assert np.array_equal(geometry.labels(labels, True), labels[:, ::-1])


@pytest.mark.parametrize(
    "caption",
    ["A man on the LEFT waves.", "a right-hand glove", "It spins counter-clockwise.", "She moves leftward.",
     "the leftmost box", "ｔｏ ｔｈｅ ｌｅｆｔ", "an anticlockwise turn", "walking eastward", "a left‑handed player"],
)  # fmt: skip
def test_captions_that_name_a_side(caption) -> None:
    assert names_side(caption)


@pytest.mark.parametrize(
    "caption", ["A bright cleft stands upright.", "The copyrighted aircraft lands.", "a least box"]
)
def test_captions_that_do_not(caption) -> None:
    assert not names_side(caption)


def test_the_share_to_flip_is_kept_and_changes_by_epoch() -> None:
    keys = [f"{i:016x}" for i in range(400)]
    drawn = [[drawn_to_flip(key, 0, epoch, 0.25) for key in keys] for epoch in range(2)]
    assert all(70 <= sum(epoch) <= 130 for epoch in drawn)
    assert drawn[0] != drawn[1]
    assert not any(drawn_to_flip(key, 0, 0, 0.0) for key in keys)
    assert all(drawn_to_flip(key, 0, 0, 1.0) for key in keys)
