"""From a table of AAS to blocks: influential, dominant and dummy ones (paper §4).

A score is the mean of AAS over a clip's steps and over its roles of a variant: [clips, blocks], NaN where a clip has no
role of it. Variants are {noun, verb} × {v2t, v2v}.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from matrix_train.attention.roles import Family

Scores = NDArray[np.float64]

VARIANTS = ("noun.v2t", "verb.v2t", "noun.v2v", "verb.v2v")

DECIDING: dict[Family, tuple[str, ...]] = {"sga": ("noun.v2t", "verb.v2t"), "spa": ("noun.v2v",)}
"""The variants that the losses work on: SGA grounds subject, verb and object, SPA carries subject and object."""

TOP = 10
"""Blocks of a clip that count as its top, of twenty and more; of a smaller model half."""

LARGE = 0.5
"""Share of the largest gap from which on a gap is a large one. The paper gives no number."""

DUMMY_VARIANCE = 1e-16
"""Largest variance over clips of a dummy block's attention to words: the paper names 1e-29 for such blocks; here the
maps are float32, whose rounding alone leaves up to 1e-17 of attention at 1/512."""


@dataclass(frozen=True)
class Influence:
    """Of one variant, by block."""

    frequency: NDArray[np.int64]
    """Clips in which the block is among the top."""
    magnitude: NDArray[np.float64]
    """Mean score over clips."""
    rank_sum: NDArray[np.float64]
    """Place by frequency plus place by magnitude, 1 for the most; those that are equal share the mean of theirs."""
    influential: tuple[int, ...]
    """The top blocks by rank sum, the best first; of equal ones that of the larger magnitude."""


@dataclass(frozen=True)
class Gaps:
    """Of one variant, by block: mean over clips that succeed, and over those that fail, less the mean over all."""

    success: NDArray[np.float64]
    failure: NDArray[np.float64]
    dominant: tuple[int, ...]
    """Influential blocks whose success gap is large and positive and whose failure gap is large and negative, the
    largest distance first."""


def top_of(blocks: int) -> int:
    return TOP if blocks >= 2 * TOP else -(-blocks // 2)


def influence(scores: Scores, left_out: Sequence[int] = ()) -> Influence:
    """scores: [clips, blocks]; clips without the variant do not count. left_out: dummy blocks, which get no place."""
    known = scores[~np.isnan(scores).any(axis=1)]
    blocks = scores.shape[1]
    open_to = np.array([block for block in range(blocks) if block not in set(left_out)])
    top = min(top_of(blocks), len(open_to))
    frequency, rank_sum = np.zeros(blocks, dtype=np.int64), np.full(blocks, np.inf)
    if not len(known) or not top:
        return Influence(frequency, np.zeros(blocks), rank_sum, ())
    # A stable sort: of equal blocks the first one.
    best = open_to[np.argsort(-known[:, open_to], axis=1, kind="stable")[:, :top]]
    np.add.at(frequency, best.ravel(), 1)
    magnitude = known.mean(axis=0)
    rank_sum[open_to] = rankdata(-frequency[open_to]) + rankdata(-magnitude[open_to])
    order = sorted(open_to.tolist(), key=lambda block: (rank_sum[block], -magnitude[block], block))
    return Influence(frequency, magnitude, rank_sum, tuple(order[:top]))


def gaps(scores: Scores, success: Sequence[int], failure: Sequence[int], influential: Sequence[int]) -> Gaps | None:
    """success and failure: rows of the clips that are labelled so; as many of each are taken, the first ones.

    The mean over all is over these and over the clips without a label. None where a side has no clip.
    """
    known = np.flatnonzero(np.isfinite(scores).all(axis=1)).tolist()
    good, bad = ([row for row in rows if row in known] for rows in (success, failure))
    count = min(len(good), len(bad))
    if not count:
        return None
    # All: what is taken of both sides, and who has no label. Left-over clips of one side would tip the mean.
    spare = {*good[count:], *bad[count:]}
    everyone = [row for row in known if row not in spare]
    mean = scores[everyone].mean(axis=0)
    up, down = scores[good[:count]].mean(axis=0) - mean, scores[bad[:count]].mean(axis=0) - mean
    large = [
        block for block in influential
        if up[block] > 0 > down[block] and up[block] >= LARGE * up.max() and down[block] <= LARGE * down.min()
    ]  # fmt: skip
    return Gaps(up, down, tuple(sorted(large, key=lambda block: (down[block] - up[block], block))))


def dummy(attention: Scores) -> tuple[int, ...]:
    """Blocks that do not look at the words: a video cell's mean attention to a role's tokens [clips, blocks] hardly
    changes with the prompt. For models whose video asks the text in an attention of its own; needs two clips."""
    known = attention[~np.isnan(attention).any(axis=1)]
    if len(known) < 2:
        return ()
    return tuple(np.flatnonzero(known.var(axis=0) < DUMMY_VARIANCE).tolist())


@dataclass(frozen=True)
class Choice:
    """Blocks for a loss, ascending, and by what they were chosen."""

    blocks: tuple[int, ...]
    by: Literal["dominant", "influential"]


def choose(family: Family, count: int, found: Mapping[str, Influence], between: Mapping[str, Gaps | None]) -> Choice:
    """At most as many blocks as are wanted, over all variants that decide: dominant ones, where labels single out any,
    by the sum of their distances, each as a share of its variant's largest; else influential ones, by the sum of their
    rank sums. Variants that no clip has do not decide; without any there is no block."""
    distance: dict[int, float] = {}
    for own in (between[variant] for variant in DECIDING[family]):
        for block in own.dominant if own else ():
            assert own is not None
            apart = own.success - own.failure
            distance[block] = distance.get(block, 0.0) + float(apart[block] / apart.max())
    if distance:
        order = sorted(distance, key=lambda block: (-distance[block], block))
        return Choice(tuple(sorted(order[:count])), "dominant")
    known = [found[variant] for variant in DECIDING[family] if found[variant].influential]
    if not known:
        return Choice((), "influential")
    ranks = np.sum([own.rank_sum for own in known], axis=0)
    sizes = np.sum([own.magnitude for own in known], axis=0)
    allowed = np.flatnonzero(np.isfinite(ranks)).tolist()
    order = sorted(allowed, key=lambda block: (ranks[block], -sizes[block], block))
    return Choice(tuple(sorted(order[:count])), "influential")
