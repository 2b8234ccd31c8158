"""How the list of stages runs: which leave rows, which go batch by batch, and what cuts their work into chunks."""

import itertools

from tasks.spec import StageSpec
from tasks.stages import STAGES

SPECS: dict[str, StageSpec] = {spec.name: spec for spec in STAGES}

RECORDED = tuple(spec.name for spec in STAGES if spec.record)
"""The stages that leave rows, in order: the lines of the funnel."""

LEGS: tuple[tuple[StageSpec, ...], ...] = tuple(
    tuple(spec for _, spec in leg)
    for _, leg in itertools.groupby(
        enumerate(STAGES), lambda at: (at[0] if at[1].whole else -1, sum(s.link is not None for s in STAGES[: at[0]]))
    )
)
"""The stages as they run: a stage that sees everything alone, or stages that go through the same chunks."""

LEG_OF = {spec.name: leg for leg in LEGS for spec in leg}

CUTTER: dict[str, str] = {leg[0].unit: LEGS[at - 1][0].name for at, leg in enumerate(LEGS) if leg[0].batch and at > 0}
"""By unit of a leg, the stage that cuts it into chunks. Files are cut as they are listed (tasks/scan/cutting.py)."""


def before(stage: str) -> str | None:
    """The stage whose rows say what arrives at `stage`, chunk by chunk; None at the first."""
    at = RECORDED.index(stage)
    return RECORDED[at - 1] if at else None
