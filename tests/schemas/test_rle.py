"""Run lengths agree with pycocotools on what it writes, and are refused where it would read at random."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from schemas.rle import area, fill, run_lengths
from tasks.media.clips import decode_mask, encode_mask


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own, with numpy 2
@pytest.mark.parametrize("seed", range(40))
def test_what_coco_writes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 70, 2))
    mask = rng.random((height, width)) < rng.random()
    if seed % 2:
        mask = cv2.blur(mask.astype(np.float32), (7, 7)) > 0.5
    mask[0, 0] = True
    rle = encode_mask(mask)
    assert rle is not None
    runs = run_lengths(rle, height, width)
    assert np.array_equal(fill(runs, height, width), mask)
    assert area(runs) == int(mask.sum())
    theirs = coco.decode({"size": [height, width], "counts": rle.encode()})
    assert np.array_equal(theirs.astype(bool), decode_mask(rle, height, width))


def test_by_hand() -> None:
    # Two columns of three pixels: 0 1 1 | 1 0 0 is runs 1, 3, 2, and each is one character of its own from '0' on.
    assert run_lengths("132", 3, 2).tolist() == [1, 3, 2]
    # A fourth run is the difference to the second: 1, 1, 1, then 3 - 1 = 2.
    assert run_lengths("1112", 3, 2).tolist() == [1, 1, 1, 3]


@pytest.mark.parametrize(
    "bad", ["", "1", "133", "0P", "zzzz", "o" * 30, "`", "p", "5" * 5000, "\x01", "é", "1 3 2", "0" * 8 + "n"]
)
def test_anything_else_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        run_lengths(bad, 3, 2)
    with pytest.raises(ValueError, match="run lengths"):
        decode_mask(bad, 3, 2)


def test_random_strings_never_fill_by_chance_or_crash() -> None:
    rng = np.random.default_rng(5)
    for _ in range(2000):
        text = bytes(rng.integers(40, 120, rng.integers(0, 12)).astype(np.uint8)).decode()
        try:
            runs = run_lengths(text, 30, 40)
        except ValueError:
            continue
        assert runs.sum() == 1200 and runs.min() >= 0
