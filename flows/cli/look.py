"""`matrix_data status`: where a build stands, for people. Needs no engine, source or Prefect."""

from typing import Annotated

import typer

from flows.cli.base import Json, Out, app, emit
from flows.context import Context
from flows.opened import context_of
from flows.tally import COLUMNS, Tally, as_line, as_table, by_machine


@app.command()
def status(
    out: Out,
    remarks: Annotated[
        bool, typer.Option(help="Also what all rows together say, and which cannot be read: opens every chunk.")
    ] = True,
    as_json: Json = False,
) -> None:
    """The funnel on record: per stage in, accepted, rejected by reason, pending, poison, seconds and clips/s."""
    context = context_of(out)
    lines, remarked = context.funnel(), [*begins_anew(context), *(context.remarks() if remarks else [])]
    found = {
        "funnel": as_table(lines),
        "machines": by_machine(lines),
        "poison": {t.stage: t.rejected["poison"] for t in lines if "poison" in t.rejected},
        "remarks": remarked,
        "fingerprints": context.fingerprints,
        "models": context.models,
    }
    emit(found, as_json, [*funnel_lines(lines), *machine_lines(lines), *remarked])


def begins_anew(context: Context) -> list[str]:
    """A line where the next build will not go on from these rows, for this version of ours names stages otherwise."""
    now = Context(context.settings).fingerprints
    first = next((stage for stage, known in context.fingerprints.items() if now[stage] != known), None)
    if first is None:
        return []
    return [f"{first}: with this version of matrix_data the next build does it anew, and all stages after it"]


def funnel_lines(lines: list[Tally]) -> list[str]:
    """The funnel as aligned text, with reasons."""
    text = [f"{as_line('stage', *COLUMNS)}  reasons"]
    for t in lines:
        rate = figure((t.arrived - t.pending) / t.seconds) if t.seconds else "-"
        counts = t.arrived, t.accepted, sum(t.rejected.values()), t.pending
        reasons = ", ".join(f"{why} {n}" for why, n in t.rejected.items())
        text.append(f"{as_line(t.stage, *counts, figure(t.seconds), rate)}  {reasons}".rstrip())
    return text + [f"{t.stage:<8} {t.usage.line()}" for t in lines if t.usage]


def figure(value: float) -> str:
    """With two decimals below 100 and none above, where they say nothing."""
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def machine_lines(lines: list[Tally]) -> list[str]:
    """Who has done it, as text: a line a stage and machine."""
    text = []
    for row in by_machine(lines):
        failed, spool = (", ".join(f"{what} {n}" for what, n in row[name].items()) for name in ("failed", "spool"))
        facts = [
            f"{row['done']} done",
            f"{row['per_second'] or 0:g}/s",
            f"busy {row['busy'] or 0:.0%}",
            *([f"{row['tokens']:,} tokens"] if row["tokens"] else []),
            *([f"GPU {row['gpu_mib']:,} MiB"] if row["gpu_mib"] else []),
            *([f"failed: {failed}"] if failed else []),
            *([f"spool: {spool}"] if spool else []),
        ]
        text.append(f"{row['stage']:<8} on {row['machine']}: {', '.join(facts)}")
    return text
