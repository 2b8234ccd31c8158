"""Which of many clips are near to each other, by all their hashes: exact, over all pairs.

No index finds codes that differ in a quarter of their bits: of 16-bit pieces of two such codes 4 bits may differ, and a
thirtieth of all codes is as near as that. So every pair is looked at, and what counts is how little it costs. Most
pairs are farther apart in their first bits alone than they may be in all. The bits in which these agree are counted
by a matrix product of zeros and ones, six clips in a number: a float64 holds whole numbers of 52 bits, and a count
takes a byte of it. Only what may still be near is counted over all hashes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK, TILE, ROWS = 4096, 6144, 256
"""Clips that are compared with all others at a time, and of the table of both the part that is worked on at once: it
stays in the processor's cache, and little is held where all are near to all. TILE is a multiple of PACKED."""

PACKED = 6
"""Counts in a float64: as many as have a byte of its 52 bits of mantissa."""

FIRST = 224
"""Bits that are looked at first, few enough that a count of them fits a byte. Of two clips that have nothing to do
with each other half of them differ, give or take 7, so that hardly one such pair is counted over all its hashes."""

Codes = NDArray[np.uint64]
"""Hashes of clips [n, k]."""


class Pairs(NamedTuple):
    """Pairs of clips that are near."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    bits: NDArray[np.int64]
    """That differ, over all hashes."""


def near_pairs(left: Codes, right: Codes, limit: int) -> Iterator[Pairs]:
    """All pairs that differ in `limit` bits or fewer over all their hashes, some at a time, in no order."""
    bits = min(FIRST, 64 * left.shape[1])
    each = float(sum(1 << (8 * i) for i in range(PACKED)))
    ours = _bits(left, bits).astype(np.float64)
    # Agreements are sum(b·q) + sum((1-b)·(1-q)), which is sum(b·(2q-1)) and what does not depend on b.
    alone = 2.0**52 + each * (bits - ours.sum(axis=1, keepdims=True))
    ours = np.concatenate([2 * ours - 1, alone], axis=1)
    for start in range(0, len(right), TILE):
        tile = right[start : start + TILE]
        theirs = _packed(_bits(tile, bits))
        for top in range(0, len(left), ROWS):
            agree = (ours[top : top + ROWS] @ theirs).view(np.uint8)
            row, byte = np.divmod(np.flatnonzero(agree >= max(bits - limit, 0)), agree.shape[1])
            column = byte // 8 * PACKED + byte % 8
            real = (byte % 8 < PACKED) & (column < len(tile))
            i, j = row[real] + top, column[real]
            apart = np.bitwise_count(left[i] ^ tile[j]).sum(axis=1, dtype=np.int64)
            some = apart <= limit
            if some.any():
                yield Pairs(i[some], j[some] + start, apart[some])


def _bits(codes: Codes, count: int) -> NDArray[np.uint8]:
    """The first bits of each as zeros and ones [n, count]."""
    return np.unpackbits(np.ascontiguousarray(codes).view(np.uint8), axis=1, count=count)


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PACKED clips a number [bits + 1, n / PACKED], and ones below, which each count's constant is multiplied with."""
    many, wide = -(-len(bits) // PACKED), bits.shape[1]
    padded = np.zeros((many * PACKED, wide), np.uint8)
    padded[: len(bits)] = bits
    numbers = np.zeros((wide, many, 8), np.uint8)
    numbers[:, :, :PACKED] = padded.reshape(many, PACKED, wide).transpose(2, 0, 1)
    whole = numbers.view("<u8")[:, :, 0].astype(np.float64)
    return np.concatenate([whole, np.ones((1, many))])
