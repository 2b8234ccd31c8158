"""The strip of a word's attention: three panels, both maps by one scale."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.attention_strip import draw


def test_the_fainter_map_is_drawn_fainter(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    sides = []
    for said, inside in (("base model", 0.1), ("5 steps", 1.0)):
        seen = np.zeros((4, 6), np.float32)
        seen[1:3, 2:4] = inside
        frame = np.full((40, 60, 3), 120, np.uint8)
        sides.append(
            {"map": seen, "frame": frame, "mask": mask, "word": "cat", "covers": 0.2, "share": inside, "said": said}
        )
    draw(sides[0], sides[1], "what it is of", tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (1200, 335)
        panels = np.asarray(strip.convert("RGB"), dtype=float)[130:200].reshape(70, 3, 400, 3)[:, :, 170:230]
    clip, before, after = panels.mean(axis=(0, 2, 3))
    assert abs(clip - 120) < 1, "the frame as it is"
    assert before < 60 < 120 < after
