"""Near pairs are those that a look at every bit of every pair finds, whatever the number of hashes and the limit."""

import numpy as np
import pytest

from tasks.dedupe import near
from tasks.dedupe.near import near_pairs
from tasks.dedupe.nearest import Looks, nearest


def codes(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """Hashes of which some are alike and some are the same."""
    some = rng.integers(0, 2**64, (size, count), dtype=np.uint64)
    alike = some[: size // 3] ^ (np.uint64(1) << rng.integers(0, 64, (size // 3, count), dtype=np.uint64))
    return rng.permutation(np.concatenate([some, alike, some[: size // 5]]))


def every_pair(left: np.ndarray, right: np.ndarray, limit: int) -> list[tuple[int, int, int]]:
    bits = np.bitwise_count(left[:, None] ^ right[None]).sum(axis=2, dtype=int)
    return [(int(i), int(j), int(bits[i, j])) for i, j in zip(*np.nonzero(bits <= limit), strict=True)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("share", [0, 0.06, 0.25, 0.5, 1])
def test_every_near_pair_is_found_and_no_other(count, share, monkeypatch):
    rng = np.random.default_rng(count)
    left, right, limit = codes(rng, 40, count), codes(rng, 61, count), int(share * 64 * count)
    for tile, rows in ((6144, 128), (12, 7)):
        monkeypatch.setattr(near, "TILE", tile)
        monkeypatch.setattr(near, "ROWS", rows)
        found = [tuple(map(int, pair)) for some in near_pairs(left, right, limit) for pair in zip(*some, strict=True)]
        assert sorted(found) == every_pair(left, right, limit)


def one_after_the_other(new: Looks, known: Looks, duplicate: float, report: float):
    """The same by its words: each clip is held against all that stay before it."""
    stayed = [(known.sources[i], known.codes[i], i) for i in range(len(known.clips))]
    for i, (source, code) in enumerate(zip(new.sources, new.codes, strict=True)):
        apart = [(int(np.bitwise_count(code ^ other).sum()), at) for from_, other, at in stayed if from_ != source]
        bits, at = min(apart, key=lambda pair: pair[0], default=(10**6, -1))  # of equal ones the first
        distance = bits / len(code)
        yield (at if distance <= max(duplicate, report) else -1), distance <= duplicate
        if distance > duplicate:
            stayed.append((source, code, len(known.clips) + i))


@pytest.mark.parametrize("seed", range(8))
def test_the_nearest_is_the_first_of_the_most_similar_that_stay(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr("tasks.dedupe.nearest.BLOCK", int(rng.choice([5, 16, 500])))
    codes_of = codes(rng, 40, 3)
    size = len(codes_of)
    looks = Looks(np.arange(size, dtype=np.uint64), rng.integers(0, 30, size, dtype=np.uint64), codes_of)
    known, new = looks.only(np.arange(size) < 15), looks.only(np.arange(size) >= 15)
    found = nearest(new, known, duplicate=0.5, report=16)
    expected = list(one_after_the_other(new, known, 0.5, 16))
    assert list(zip(found.at.tolist(), found.duplicate.tolist(), strict=True)) == expected
    assert any(duplicate for _, duplicate in expected) and any(at < 0 for at, _ in expected)
