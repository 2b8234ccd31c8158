"""The funnel: how many went in, passed, fell out and why, and wait, at every stage. From the store alone."""

from collections.abc import Callable
from typing import Any

from flows.context import Plan, Tally
from tasks.store.rows import StageStore

Watcher = Callable[[list[Tally]], None]
watchers: list[Watcher] = []
"""Called with each new funnel in the process that runs the flow; the command line's progress bars listen here."""


def tell(lines: list[Tally]) -> None:
    for watcher in watchers:
        watcher(lines)


def funnel(plan: Plan) -> list[Tally]:
    """Every stage's line. A stage where something is lost raises AssertionError (flows/context.py, Tally)."""
    scan, select = plan.store("scan"), plan.store("select")
    files = {*plan.known_listing, *_all(scan)}
    entering = {*scan.accepted(), *_all(select)}
    lines = [plan.tally("scan", files), plan.tally("select", entering)]
    return lines + [plan.tally(stage) for stage in ("ingest", "dedupe", "caption", "ground", "track", "curate")]


def _all(store: StageStore[Any]) -> list[str]:
    return [*store.accepted(), *store.rejected()]


def as_table(lines: list[Tally]) -> list[dict[str, Any]]:
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
