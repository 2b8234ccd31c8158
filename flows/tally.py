"""A stage's line in the funnel, over all chunks or over one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from schemas import Record, Usage
from schemas.base import Count
from tasks.store.index import Totals
from tasks.store.legs import Machine, summed


class Tally(Record):
    """`arrived = accepted + rejected + pending`, always."""

    stage: str
    arrived: Count
    accepted: Count
    rejected: dict[str, Count]
    pending: Count
    seconds: float
    usage: Usage | None = None
    links: Count = Field(default=0, description="keys of the next stage that accepted rows lead to, of one with a link")
    machines: tuple[Machine, ...] = Field(default=(), description="who has done it, with what")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        done = self.accepted + sum(self.rejected.values())
        if self.arrived != done + self.pending:
            raise AssertionError(f"{self.stage}: {self.arrived} in, but {done} done and {self.pending} pending")
        return self

    @classmethod
    def of(cls, stage: str, totals: Totals, arrived: int) -> Self:
        """The line of what was counted."""
        rejected = dict(sorted(totals.rejected.items()))
        return cls(
            stage=stage, arrived=arrived, accepted=totals.accepted, rejected=rejected, pending=totals.pending,
            seconds=totals.seconds, usage=totals.usage, links=totals.links, machines=totals.machines,
        )  # fmt: skip

    @classmethod
    def waiting(cls, stage: str, arrived: int) -> Self:
        """The line of a stage that has not begun."""
        return cls(stage=stage, arrived=arrived, accepted=0, rejected={}, pending=arrived, seconds=0.0)


def total(stage: str, lines: Sequence[Tally]) -> Tally:
    """One line for several chunks."""
    rejected = Counter[str]()
    for line in lines:
        rejected.update(line.rejected)
    spent = [line.usage for line in lines if line.usage]
    return Tally(
        stage=stage,
        arrived=sum(line.arrived for line in lines),
        accepted=sum(line.accepted for line in lines),
        rejected=dict(sorted(rejected.items())),
        pending=sum(line.pending for line in lines),
        seconds=sum(line.seconds for line in lines),
        usage=sum(spent[1:], start=spent[0]) if spent else None,
        links=sum(line.links for line in lines),
        machines=summed(machine for line in lines for machine in line.machines),
    )


COLUMNS = {"in": 8, "accepted": 10, "rejected": 10, "pending": 9, "seconds": 10, "per s": 10}
"""Of the funnel as text, with their widths."""


def as_line(stage: str, *cells: object) -> str:
    """A line of the funnel as text: the first of COLUMNS, never without a gap between two."""
    widths = list(COLUMNS.values())[: len(cells)]
    return f"{stage:<8}" + "".join(f" {cell!s:>{width - 1}}" for cell, width in zip(cells, widths, strict=True))


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


def by_machine(lines: Sequence[Tally]) -> list[dict[str, Any]]:
    """Rows for a table: one a stage and machine, with what it has done there and what that took."""
    return [
        {
            "stage": line.stage,
            "machine": one.machine,
            "done": one.keys,
            "per_second": one.per_second,
            "busy": one.busy,
            "pending": line.pending,
            "tokens": one.usage.prompt_tokens + one.usage.completion_tokens if one.usage else 0,
            "cached_tokens": one.usage.cached_tokens if one.usage else 0,
            "repaired": one.usage.repaired.model_dump(exclude_defaults=True) if one.usage else {},
            "failed": one.failed,
            "gpu_mib": one.gpu_bytes >> 20,
            "spool": one.spool,
        }
        for line in lines
        for one in line.machines
    ]
