"""What validations tell beside losses: that maps agree well enough, and that sampled videos run away."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from matrix_train.attention.roles import FAMILY_ROLES, Family
from matrix_train.fit.logs import VALIDATION
from matrix_train.fit.samples import Look

SAMPLES = f"{VALIDATION}samples."

RUNAWAY = 1.25
"""Growth of saturation or contrast since step 0 that is told."""


def reached(validations: Iterable[Mapping[str, Any]], stop_at: float | None) -> set[Family]:
    """Families whose maps have agreed with the masks as well as that, at any of these validations."""
    if stop_at is None:
        return set()
    lines = list(validations)
    names = {family: f"{VALIDATION}{family}.correlation" for family in FAMILY_ROLES}
    return {family for family, name in names.items() if any((line.get(name) or 0.0) >= stop_at for line in lines)}


def compared(looks: Sequence[Look], validations: Iterable[Mapping[str, Any]]) -> tuple[dict[str, float], list[str]]:
    """Means of the sampled videos, and as shares of step 0's; a note for each that runs away."""
    first = next((line for line in validations if line["step"] == 0), {})
    values: dict[str, float] = {}
    notes: list[str] = []
    for name in ("saturation", "contrast"):
        values[SAMPLES + name] = fmean(asdict(look)[name] for look in looks)
        if before := first.get(SAMPLES + name):
            growth = values[f"{SAMPLES}{name}.of_first"] = values[SAMPLES + name] / before
            if growth > RUNAWAY:
                notes.append(
                    f"{name} of sampled videos is {growth:.2f} times that of step 0: look at samples/, "
                    "and lower optim.lr, align.sga or align.spa"
                )
    return values, notes
