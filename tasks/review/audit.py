"""How right a dataset is: yes/no questions to a person about a seeded sample, and accuracy per kind with intervals.

Clips are drawn from three strata of doubt, the same number from each, since doubtful ones tell most; figures are
weighted back by how many clips each stratum holds.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from schemas import Record
from schemas.base import ClipId, Count, InstanceId

Kind = Literal["object", "attribute", "relation", "track"]
KINDS: tuple[Kind, ...] = get_args(Kind)

HUMAN = {"object": 0.938, "attribute": 0.883, "relation": 0.854}
"""Accuracy that people found in Synthetic Visual Genome 2, to hold ours against."""

STRATA = 3

FIGURES = "figures.json"
"""In the audit's folder; the dataset gets the same (`schemas.dataset.AUDIT_FILE`)."""

_Z = 1.959963984540054


class Question(Record):
    """One yes/no question. `frame` is where the page begins."""

    number: Count
    kind: Kind
    clip: ClipId
    stratum: Count
    ids: tuple[InstanceId, ...]
    text: str
    frame: Count


class Audit(Record):
    """What was drawn: `audit.json` in the audit's folder."""

    seed: int
    fingerprint: str
    strata: tuple[Count, ...]
    """Clips in each stratum, the least doubtful first."""
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Accuracy:
    """Share of yes among the answers of one kind, with its 95 % interval. `value` is None before the first answer."""

    n: int
    value: float | None
    low: float
    high: float


def draw(doubts: Mapping[str, float], sample: int, seed: int) -> tuple[list[tuple[str, int]], tuple[int, ...]]:
    """At most `sample` clips with their stratum, and how many clips each stratum holds. The same for the same seed."""
    ranked = sorted(doubts, key=lambda clip: (doubts[clip], clip))
    cuts = [round(k * len(ranked) / STRATA) for k in range(STRATA + 1)]
    strata = [ranked[a:b] for a, b in pairwise(cuts)]
    chance = random.Random(seed)
    drawn = [chance.sample(some, len(some)) for some in strata]
    taken: list[tuple[str, int]] = []
    while len(taken) < min(sample, len(ranked)):
        for k, some in enumerate(drawn):
            if some and len(taken) < sample:
                taken.append((some.pop(), k))
    return taken, tuple(len(some) for some in strata)


def accuracy(audit: Audit, answers: Mapping[int, bool], kind: Kind) -> Accuracy:
    """Weighted over the strata that have an answer; Wilson's interval on the effective number of answers."""
    said: list[list[bool]] = [[] for _ in audit.strata]
    for question in audit.questions:
        if question.kind == kind and question.number in answers:
            said[question.stratum].append(answers[question.number])
    held = [(size, some) for size, some in zip(audit.strata, said, strict=True) if some]
    n, total = sum(len(some) for _, some in held), sum(size for size, _ in held)
    if not n:
        return Accuracy(0, None, 0.0, 1.0)
    value = sum(size / total * sum(some) / len(some) for size, some in held)
    # Each stratum's rate is drawn a little to the middle, so that one with a single answer has a variance too.
    smooth = [(size / total, (sum(some) + 1) / (len(some) + 2), len(some)) for size, some in held]
    variance = sum(w * w * p * (1 - p) / k for w, p, k in smooth)
    middle = sum(w * p for w, p, _ in smooth)
    low, high = _wilson(value, middle * (1 - middle) / variance)
    return Accuracy(n, value, low, high)


def _wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a share of n."""
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def figures(audit: Audit, answers: Mapping[int, bool]) -> dict[str, Any]:
    """What cards show: per kind that was answered, how many were asked and right, and the share with its interval."""
    kinds = {}
    for kind in KINDS:
        said = [answers[q.number] for q in audit.questions if q.kind == kind and q.number in answers]
        if said:
            a = accuracy(audit, answers, kind)
            kinds[kind] = {"asked": a.n, "right": sum(said), "share": a.value, "low": a.low, "high": a.high}
    return {"seed": audit.seed, "kinds": kinds}


def table(audit: Audit, answers: Mapping[int, bool]) -> str:
    """The figures as a Markdown table."""
    rows = ["| kind | answers | right | 95 % interval | people on Synthetic Visual Genome 2 |", "|---|---|---|---|---|"]
    for kind in KINDS:
        a = accuracy(audit, answers, kind)
        shown = "no answer yet | " if a.value is None else f"{a.value:.1%} | {a.low:.1%} to {a.high:.1%}"
        rows.append(f"| {kind} | {a.n} | {shown} | {f'{HUMAN[kind]:.1%}' if kind in HUMAN else ''} |")
    return "\n".join(rows) + "\n"
