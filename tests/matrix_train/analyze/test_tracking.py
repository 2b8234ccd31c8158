"""Masks that follow what they show."""

import numpy as np

from matrix_train.analyze.tracking import follow


def test_a_mask_goes_with_its_thing_and_leaves_the_rest() -> None:
    """A textured square moves right by three pixels a frame over another texture."""
    generator = np.random.default_rng(0)
    ground = np.repeat(np.repeat(generator.integers(60, 120, (16, 24, 3), dtype=np.uint8), 6, axis=0), 6, axis=1)
    thing = np.repeat(np.repeat(generator.integers(140, 255, (6, 6, 3), dtype=np.uint8), 5, axis=0), 5, axis=1)
    video, truth = np.stack([ground] * 9), np.zeros((9, 96, 144), dtype=bool)
    for t in range(9):
        video[t, 30:60, 20 + 3 * t : 50 + 3 * t] = thing
        truth[t, 30:60, 20 + 3 * t : 50 + 3 * t] = True
    found = follow(video, truth[0])
    assert found.shape == truth.shape
    assert np.array_equal(found[0], truth[0])
    overlap = (found & truth).sum(axis=(1, 2)) / (found | truth).sum(axis=(1, 2))
    assert overlap.min() > 0.8
    assert not follow(video, np.zeros((96, 144), dtype=bool)).any()
