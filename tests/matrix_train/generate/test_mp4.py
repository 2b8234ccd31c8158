"""The mp4s of the trainer: the same frames give the same bytes, whatever lay in memory before."""

import ctypes
from pathlib import Path

import numpy as np

from matrix_train.generate.mp4 import write_mp4

M_PERTURB = -6
"""glibc's mallopt: the byte that fresh memory is filled with."""


def test_the_same_frames_are_the_same_bytes(tmp_path: Path) -> None:
    """These frames came out in seven ways of twenty tries while x264 used its macroblock tree."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 12, 18, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    frames = (coarse // 2 + rng.integers(0, 128, coarse.shape, dtype=np.uint8)).astype(np.uint8)
    libc = ctypes.CDLL(None)
    made = set()
    try:
        for filled in (0, 85, 170):
            assert libc.mallopt(M_PERTURB, filled)
            write_mp4(tmp_path / "v.mp4", frames, 8.0)
            made.add((tmp_path / "v.mp4").read_bytes())
    finally:
        libc.mallopt(M_PERTURB, 0)
    assert len(made) == 1
