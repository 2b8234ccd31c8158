"""Cohen's kappa: how far two people agree beyond chance, with its interval (Fleiss, Cohen and Everitt 1969)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.959963984540054
"""Of the normal distribution: 95 % lie within so many standard errors."""


@dataclass(frozen=True)
class Kappa:
    """Agreement over `n` things judged twice. `value` is None where chance alone would agree always."""

    n: int
    agreed: float
    """Share of the things on which both said the same."""
    value: float | None
    low: float
    high: float


def kappa(pairs: Sequence[tuple[str, str]]) -> Kappa:
    """Of pairs of labels, one a thing. Standard error of the large sample, for kappas other than zero."""
    labels = sorted({label for pair in pairs for label in pair})
    if not pairs:
        return Kappa(0, 0.0, None, 0.0, 0.0)
    table = np.zeros((len(labels), len(labels)))
    for one, other in pairs:
        table[labels.index(one), labels.index(other)] += 1
    n = len(pairs)
    p = table / n
    rows, columns = p.sum(1), p.sum(0)
    seen, chance = float(np.trace(p)), float(rows @ columns)
    if math.isclose(chance, 1.0):
        return Kappa(n, seen, None, 0.0, 0.0)
    value = (seen - chance) / (1 - chance)
    # Columns' margin by row and rows' margin by column, as the derivative of kappa in each cell has them.
    both = columns[:, None] + rows[None, :]
    on = float(sum(p[i, i] * (1 - both[i, i] * (1 - value)) ** 2 for i in range(len(labels))))
    off = float((p * both**2).sum() - sum(p[i, i] * both[i, i] ** 2 for i in range(len(labels)))) * (1 - value) ** 2
    error = math.sqrt(max(0.0, on + off - (value - chance * (1 - value)) ** 2) / n) / (1 - chance)
    return Kappa(n, seen, value, max(-1.0, value - _Z * error), min(1.0, value + _Z * error))


def by_label(pairs: Sequence[tuple[str, str]]) -> dict[str, Kappa]:
    """Kappa of each label against all others."""
    labels = sorted({label for pair in pairs for label in pair})
    return {
        label: kappa([(("is" if a == label else "other"), ("is" if b == label else "other")) for a, b in pairs])
        for label in labels
    }
