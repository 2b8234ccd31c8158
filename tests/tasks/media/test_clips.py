"""The encoder's bytes depend on the frames alone: not on the process, nor on what fresh memory happens to hold."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np

from tasks.media.clips import EncodeSettings, encode_clip, read_frames

SCRIPT = """
from tests.tasks.media.test_clips import digest
print(digest())
"""


def moving(frames=17, height=240, width=352):
    """A textured panning picture with a block that moves over it."""
    rng = np.random.default_rng(3)
    wide = rng.integers(60, 200, (height // 8, width // 8 + 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    shots = []
    for t in range(frames):
        shot = wide[:, 2 * t : 2 * t + width].copy()
        shot[60 + 3 * t : 120 + 3 * t, 40 + 9 * t : 110 + 9 * t] = (220, 30, 30)
        noise = rng.integers(-6, 7, shot.shape)
        shots.append(np.clip(shot.astype(int) + noise, 0, 255).astype(np.uint8))
    return shots


def digest():
    return hashlib.sha256(encode_clip(moving(), Fraction(4), EncodeSettings())).hexdigest()


def test_the_same_bytes_whatever_fresh_memory_holds():
    found = set()
    for filling in ("0", "85", "170"):
        env = os.environ | {"MALLOC_PERTURB_": filling}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_the_same_bytes_again_in_one_process():
    assert len({digest() for _ in range(4)}) == 1


def test_frames_come_back_close(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_clip(moving(), Fraction(4), EncodeSettings()))
    again = read_frames(path)
    assert again.shape == (17, 240, 352, 3)
    assert np.abs(again.astype(int) - np.stack(moving())).mean() < 8
