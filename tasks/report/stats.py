"""The statistics of paper §3, over a dataset of any size: one pass, a row at a time."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.dataset import IndexRow

SIDE_EDGES = (0.0, 0.03125, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75)
"""Lower edges of the mask size bins, as median sqrt(area) / shorter image side. 1/32 is where `tiny` begins."""

_AUXILIARIES = frozenset(["am", "are", "be", "been", "being", "had", "has", "have", "is", "was", "were", "will"])


@dataclass
class Stats:
    """Counts over all samples of a dataset."""

    joint: list[list[int]] = field(default_factory=lambda: [[0] * 5 for _ in range(5)])
    """Interactions by [contactness - 1][dynamism - 1]."""
    interactions: Counter[int] = field(default_factory=Counter)
    """Videos by their number of interactions."""
    instances: Counter[int] = field(default_factory=Counter)
    verbs: Counter[str] = field(default_factory=Counter)
    nouns: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    sides: list[int] = field(default_factory=lambda: [0] * len(SIDE_EDGES))
    """Tracks by size, in the bins that begin at SIDE_EDGES; the last bin is open."""
    seconds: float = 0.0
    """Of video."""


def collect(rows: Iterable[IndexRow]) -> Stats:
    """Count everything. No shard is opened: the index has what is counted."""
    stats = Stats()
    for row in rows:
        for contact, dynamism in zip(row.contact, row.dynamism, strict=True):
            stats.joint[contact - 1][dynamism - 1] += 1
        stats.interactions[row.interactions] += 1
        stats.instances[row.instances] += 1
        stats.seconds += row.frames / row.fps
        stats.verbs.update(map(bare, row.verbs))
        stats.nouns.update(row.nouns)
        stats.sources[row.dataset] += 1
        stats.licences[row.license or "not stated"] += 1
        for side in row.sides:
            stats.sides[sum(side >= edge for edge in SIDE_EDGES) - 1] += 1
    return stats


def bare(verb: str) -> str:
    """A surface verb without leading auxiliaries, in lower case: 'is pushing' is 'pushing'."""
    words = verb.lower().split()
    while len(words) > 1 and words[0] in _AUXILIARIES:
        words = words[1:]
    return " ".join(words)


def top(counter: Counter[str], count: int) -> list[tuple[str, int]]:
    """The most frequent, ties by name."""
    return sorted(counter.items(), key=lambda kv: (-kv[1], kv[0]))[:count]
