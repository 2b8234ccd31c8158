"""How the list of stages runs: which leave rows, which go batch by batch, and which of them make a chain."""

import itertools

from tasks.spec import StageSpec
from tasks.stages import STAGES

SPECS: dict[str, StageSpec] = {spec.name: spec for spec in STAGES}

RECORDED = tuple(spec.name for spec in STAGES if spec.record)
"""The stages that leave rows, in order: the lines of the funnel."""

BATCHED = tuple(spec.name for spec in STAGES if spec.batch)
"""The stages that go batch by batch, in order."""

LEGS: tuple[tuple[StageSpec, ...], ...] = tuple(
    tuple(spec for _, spec in leg)
    for _, leg in itertools.groupby(
        enumerate(STAGES), lambda at: (at[0] if at[1].whole else -1, sum(s.link is not None for s in STAGES[: at[0]]))
    )
)
"""The stages as they run: a stage that sees everything alone, or stages that batches go through with the same keys."""

CHAIN = tuple(spec.name for leg in LEGS for spec in leg if leg[0].batch and leg[0].unit == "clips")
"""The stages that clips go through batch by batch, none waiting for all of another."""
