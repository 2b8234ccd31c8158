"""COCO's compressed run lengths, read strictly: pycocotools reads past a cut string and leaves unfilled pixels random.

A mask [H, W] is scanned down its columns; the runs are of 0s and 1s in turn, beginning with 0s. From the fourth on, a
run is written as the difference to the run two before. A number is cut into 5-bit groups, low first, as characters
from code 48 on; bit 5 says that more follows, bit 4 of the last group is the sign.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.tracks import Rle

_LONGEST = 7
"""Characters of one number: 35 bits, more than any mask has pixels."""


def run_lengths(rle: Rle, height: int, width: int) -> NDArray[np.int64]:
    """The runs, which fill the mask exactly. Raises ValueError for any other string."""
    try:
        raw = np.frombuffer(rle.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise ValueError("run lengths hold a character that is not ASCII") from error
    if not raw.size or int(raw.min()) < 0 or int(raw.max()) > 63:
        raise ValueError("run lengths hold a character outside their alphabet, or nothing")
    ends = np.flatnonzero((raw & 32) == 0)
    if not ends.size or int(ends[-1]) != raw.size - 1:
        raise ValueError("run lengths end within a number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if int(lengths.max()) > _LONGEST:
        raise ValueError("run lengths hold a number that is too long")
    place = np.arange(raw.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((raw & 31) << (5 * place), starts)
    runs -= np.where(raw[ends] & 16, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if int(runs.min()) < 0 or int(runs.sum()) != height * width:
        raise ValueError(f"run lengths do not fill {height} x {width} pixels")
    return runs


def area(runs: NDArray[np.int64]) -> int:
    """Pixels of the mask."""
    return int(runs[1::2].sum())


def fill(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """The mask [H, W] of checked runs, in C order."""
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)
