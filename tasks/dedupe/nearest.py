"""Of many new clips the most similar earlier one each, and whether it is as good as the same.

In their order, for a clip that is left out counts no more. Memory is bounded by the codes of the clips.
"""

import math
from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.dedupe.near import BLOCK, Codes, Pairs, near_pairs


class Look(NamedTuple):
    """What is compared of a clip."""

    clip_id: str
    source_id: str
    hashes: NDArray[np.uint64]
    """Of evenly spaced frames [n], n the same for all clips."""
    order: tuple[str, int, int] = ("", 0, 0)
    """Source URI, scene and window: the first of several alike is the one that stays."""


class Looks(NamedTuple):
    """What is compared of many clips, in the order in which they count: some 60 bytes each. IDs are numbers."""

    clips: NDArray[np.uint64]
    sources: NDArray[np.uint64]
    codes: Codes

    @staticmethod
    def of(looks: Iterable[Look]) -> "Looks":
        """By source URI, scene, window and ID. ValueError where clips have different numbers of hashes."""
        clips, sources, codes, orders = array("Q"), array("Q"), array("Q"), list[tuple[str, int, int]]()
        count = 0
        for look in looks:
            count = count or look.hashes.size
            if look.hashes.size != count:
                raise ValueError(f"{look.clip_id} has {look.hashes.size} hashes and others {count}")
            clips.append(int(look.clip_id, 16))
            sources.append(int(look.source_id, 16))
            codes.extend(look.hashes.tolist())
            orders.append(look.order)
        order = np.array(sorted(range(len(clips)), key=lambda i: (orders[i], clips[i])), np.int64)
        table = np.frombuffer(codes, np.uint64).reshape(len(clips), count)
        return Looks(np.frombuffer(clips, np.uint64)[order], np.frombuffer(sources, np.uint64)[order], table[order])

    def only(self, some: NDArray[np.bool_]) -> "Looks":
        return Looks(self.clips[some], self.sources[some], self.codes[some])


class Nearest(NamedTuple):
    """Of new clips what is the nearest."""

    at: NDArray[np.int64]
    """Its place among the known and then the new ones; -1 where none is near."""
    distance: NDArray[np.float64]
    """Infinite where none is near."""
    duplicate: NDArray[np.bool_]


def nearest(new: Looks, known: Looks, duplicate: float, report: float) -> Nearest:
    """Compare new clips, in their order, with the known ones, by ID, and with the new ones before them that stay.

    duplicate, report: up to which distances a clip is left out, and its nearest is told. ValueError where clips have
    different numbers of hashes.
    """
    size, before = len(new.clips), len(known.clips)
    near = Nearest(np.full(size, -1), np.full(size, math.inf), np.zeros(size, bool))
    if not size:
        return near
    count = new.codes.shape[1]
    if before and known.codes.shape[1] != count:
        raise ValueError(f"clips on record have {known.codes.shape[1]} hashes and new ones {count}")
    limit = math.ceil(max(duplicate, report) * count)
    # The clips that stay, and the place of each among the known and then the new ones.
    codes = np.concatenate([known.codes.reshape(-1, count), np.empty_like(new.codes)])
    sources, places = np.concatenate([known.sources, np.empty_like(new.sources)]), np.arange(before + size)
    for first in range(0, size, BLOCK):
        some = slice(first, first + BLOCK)
        block, own = new.codes[some], new.sources[some]
        bits, at = np.full(len(block), _NONE), np.full(len(block), -1)
        for pairs in near_pairs(block, codes[:before], limit):
            others = sources[pairs.right] != own[pairs.left]
            left, right, apart = (column[others] for column in pairs)
            order = np.lexsort((right, apart, left))
            left, right, apart = left[order], right[order], apart[order]
            best = np.flatnonzero(np.diff(left, prepend=-1))
            left, right, apart = left[best], right[best], apart[best]
            better = (apart < bits[left]) | ((apart == bits[left]) & (right < at[left]))
            bits[left[better]], at[left[better]] = apart[better], right[better]
        at = np.where(bits < _NONE, places[at], -1)
        beside = _beside(block, own, limit)
        stays = bits / count > duplicate
        for i in np.unique(beside.left):  # in order, for whether an earlier one stays counts
            mine = slice(*np.searchsorted(beside.left, (i, i + 1)))
            stay = np.flatnonzero(stays[beside.right[mine]])
            if stay.size and beside.bits[mine][stay[0]] < bits[i]:  # of those that are as near the earliest counts
                bits[i] = beside.bits[mine][stay[0]]
                at[i] = len(known.clips) + first + beside.right[mine][stay[0]]
                stays[i] = bits[i] / count > duplicate
        distance = bits / count
        near.duplicate[some] = ~stays
        told = ~stays | (distance <= report)
        near.at[some], near.distance[some] = np.where(told, at, -1), np.where(told, distance, math.inf)
        kept = np.flatnonzero(stays)
        after = before + len(kept)
        codes[before:after], sources[before:after] = block[kept], own[kept]
        places[before:after] = len(known.clips) + first + kept
        before = after
    return near


_NONE = 1 << 30
"""A distance that no pair has."""


def _beside(block: Codes, own: NDArray[np.uint64], limit: int) -> Pairs:
    """Of each clip the earlier ones in its block that are near and of another source, in order, the nearest first."""
    found = [Pairs(*(np.empty(0, np.int64),) * 3)]
    for pairs in near_pairs(block, block, limit):
        some = (pairs.right < pairs.left) & (own[pairs.right] != own[pairs.left])
        found.append(Pairs(*(column[some] for column in pairs)))
    left, right, bits = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((right, bits, left))
    return Pairs(left[order], right[order], bits[order])
