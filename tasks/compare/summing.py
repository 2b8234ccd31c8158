"""Two builds over the same clips, added up clip by clip; only the clips that differ most are kept."""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tasks.compare.differing import Difference, Triplet

ACCEPTED = "accepted"
FAR = 0.75
"""J&F of two tracks of one thing below which they count as differing."""


@dataclass
class Sums:
    """What `compare` tells of two builds."""

    show: int
    """How many of the clips that differ most are kept."""
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Clips by how they ended left and right: accepted, a reason code with its stage, or pending."""
    only: Counter[str] = field(default_factory=Counter)
    """Clips that one side alone has, by side."""
    same: int = 0
    only_left: Counter[Triplet] = field(default_factory=Counter)
    only_right: Counter[Triplet] = field(default_factory=Counter)
    contact: Counter[int] = field(default_factory=Counter)
    dynamism: Counter[int] = field(default_factory=Counter)
    """Interactions that both have, by right minus left."""
    agreements: list[float] = field(default_factory=list)
    """J&F of every track that both have."""
    ious: list[float] = field(default_factory=list)
    anchors: list[float] = field(default_factory=list)
    """IoU of anchors in the same frame."""
    moved: int = 0
    """Things whose anchors stand in different frames."""
    alone: Counter[str] = field(default_factory=Counter)
    """Tracks that one side alone has, by side."""
    _most: list[tuple[float, str, Difference, tuple[str, str]]] = field(default_factory=list)

    def add(self, found: Difference, ends: tuple[str, str]) -> None:
        """Take in one clip."""
        self.ends[ends] += 1
        self.same += len(found.same)
        self.only_left.update(found.only_left)
        self.only_right.update(found.only_right)
        self.contact.update(shift[0] for shift in found.shifts)
        self.dynamism.update(shift[1] for shift in found.shifts)
        self.agreements += [pair.j_and_f for pair in found.tracks]
        self.ious += [pair.iou for pair in found.tracks]
        self.anchors += [pair.anchor_iou for pair in found.tracks if pair.anchor_iou is not None]
        self.moved += sum(pair.anchor_iou is None for pair in found.tracks)
        self.alone.update(side for side, _ in found.alone)
        size = found.size + (ends[0] != ends[1]) * (1 + (ACCEPTED in ends))
        if size:
            heapq.heappush(self._most, (size, found.key, found, ends))
            if len(self._most) > self.show:
                heapq.heappop(self._most)

    @property
    def most(self) -> list[tuple[float, str, Difference, tuple[str, str]]]:
        """Size, key, difference and ends of those that differ most, the most first."""
        return sorted(self._most, key=lambda found: (-found[0], found[1]))

    def numbers(self) -> dict[str, Any]:
        """Everything in plain JSON types."""
        both = sum(n for (left, right), n in self.ends.items() if left == right == ACCEPTED)
        return {
            "clips": sum(self.ends.values()),
            "only_left": self.only["left"],
            "only_right": self.only["right"],
            "accepted": {
                "both": both,
                "left": sum(n for (left, _), n in self.ends.items() if left == ACCEPTED),
                "right": sum(n for (_, right), n in self.ends.items() if right == ACCEPTED),
            },
            "ends": [{"left": a, "right": b, "clips": n} for (a, b), n in _by_count(self.ends)],
            "triplets": {
                "both": self.same,
                "left": sum(self.only_left.values()),
                "right": sum(self.only_right.values()),
                "most_left": [{"triplet": list(t), "count": n} for t, n in _by_count(self.only_left)[:20]],
                "most_right": [{"triplet": list(t), "count": n} for t, n in _by_count(self.only_right)[:20]],
            },
            "ratings": {"contact": _shifts(self.contact), "dynamism": _shifts(self.dynamism)},
            "tracks": {
                "both": len(self.agreements),
                "left": self.alone["left"],
                "right": self.alone["right"],
                "j_and_f": _mean(self.agreements),
                "iou": _mean(self.ious),
                "far": sum(value < FAR for value in self.agreements),
            },
            "anchors": {"same_frame": len(self.anchors), "other_frame": self.moved, "iou": _mean(self.anchors)},
            "most": [
                {"clip": key, "size": round(size, 4), "left": ends[0], "right": ends[1]}
                for size, key, _, ends in self.most
            ],
        }


def _by_count(counter: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda found: (-found[1], found[0]))


def _mean(values: list[float]) -> float | None:
    return round(fmean(values), 4) if values else None


def _shifts(counter: Counter[int]) -> dict[str, Any]:
    total = counter.total()
    mean = sum(shift * n for shift, n in counter.items()) / total if total else None
    return {
        "mean": None if mean is None else round(mean, 4),
        "counts": {f"{shift:+d}" if shift else "0": counter[shift] for shift in range(-4, 5) if counter[shift]},
    }


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by their whole names, as `--set` writes them."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found
