"""A stage's line in the funnel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas import Usage


@dataclass(frozen=True)
class Tally:
    """A stage's line in the funnel. `arrived = accepted + rejected + pending`, always."""

    stage: str
    arrived: int
    accepted: int
    rejected: dict[str, int]
    pending: int
    seconds: float
    usage: Usage | None = None

    def __post_init__(self) -> None:
        done = self.accepted + sum(self.rejected.values())
        if self.arrived != done + self.pending:
            raise AssertionError(f"{self.stage}: {self.arrived} in, but {done} done and {self.pending} pending")


def as_table(lines: Sequence[Tally]) -> list[dict[str, Any]]:
    """Rows for a table: one a stage, with clips per second of work on record."""
    return [
        {
            "stage": line.stage,
            "in": line.arrived,
            "accepted": line.accepted,
            "rejected": line.rejected,
            "pending": line.pending,
            "seconds": round(line.seconds, 2),
            "per_second": round((line.arrived - line.pending) / line.seconds, 2) if line.seconds else None,
            "usage": line.usage.model_dump() if line.usage else None,
        }
        for line in lines
    ]
