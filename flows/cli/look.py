"""`matrix_data status` and `matrix_data show`: what the store knows, for people. Needs no engine, source or Prefect."""

from typing import Annotated, Any

import typer

from flows.chunk import Chunk
from flows.cli.base import Json, Out, app, emit
from flows.context import Context
from flows.legs import RECORDED, SPECS
from flows.opened import context_of
from flows.tally import COLUMNS, Tally, as_line, as_table, by_machine
from schemas import Row
from tasks.errors import UserError
from tasks.media.overlay import contact_sheet
from tasks.outcome import Case


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
    lines, remarked = context.funnel(), context.remarks() if remarks else []
    found = {
        "funnel": as_table(lines),
        "machines": by_machine(lines),
        "poison": {t.stage: t.rejected["poison"] for t in lines if "poison" in t.rejected},
        "remarks": remarked,
        "fingerprints": context.fingerprints,
        "models": context.models,
    }
    emit(found, as_json, [*funnel_lines(lines), *machine_lines(lines), *remarked])


@app.command()
def show(
    out: Out, clip: Annotated[str, typer.Argument(help="clip_id, or the first digits of one.")], as_json: Json = False
) -> None:
    """Everything known of a clip, with a contact sheet of its boxes and masks."""
    found, text = describe(context_of(out), clip)
    emit(found, as_json, text)


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


def describe(context: Context, prefix: str) -> tuple[dict[str, Any], list[str]]:
    """All that is known of the clip whose ID starts with `prefix`; writes `show/<clip_id>.png` below out."""
    clip_id = _find(context, prefix)
    chunk = _chunk_of(context, clip_id)
    case, rows = chunk.reached(clip_id), _rows(chunk, clip_id)
    sheet = f"show/{clip_id}.png"
    context.out.write(sheet, contact_sheet(case, chunk.frames(case)))
    found = {
        "clip": case.clip.model_dump(mode="json"),
        "stages": {stage: row.model_dump(mode="json") for stage, row in rows.items()},
        "sheet": context.out.shown(sheet),
    }
    return found, [*_text(case, rows), f"sheet    {context.out.shown(sheet)}"]


def _find(context: Context, prefix: str) -> str:
    found = [c for c in context.store("ingest").links() if c.startswith(prefix)]
    if not found:
        raise UserError(f"no clip {prefix!r} in {context.out.uri}")
    if len(found) > 1:
        raise UserError(f"{prefix!r} fits {len(found)} clips, e.g. {found[0]} and {found[1]}: give more digits")
    return found[0]


def _chunk_of(context: Context, clip_id: str) -> Chunk:
    found = context.find(clip_id)
    if found is None:
        raise UserError(f"the clip {clip_id} has not been through dedupe yet: go on with the build")
    return found


def _rows(chunk: Chunk, clip_id: str) -> dict[str, Row[Any]]:
    stages = [stage for stage in RECORDED if SPECS[stage].unit == "clips"]
    return {s: chunk.store(s).read([clip_id])[0] for s in stages if clip_id in chunk.store(s)}


def _text(case: Case, rows: dict[str, Row[Any]]) -> list[str]:
    """The clip and where it came from, then stage by stage how it ended and what is on record."""
    clip, window, facts = case.clip, case.clip.window, case.clip.facts
    text = [
        f"clip     {clip.clip_id}  {clip.width}×{clip.height}, {clip.frames} frames at {clip.fps:g}/s",
        f"source   {', '.join(clip.source.uris)}  {window.start_s:.2f}–{window.end_s:.2f} s, scene {window.scene}",
        f"         {facts.width}×{facts.height}, {facts.fps:.4g}/s, {facts.duration_s:.2f} s, {facts.codec} "
        f"{facts.pixel_format} in {facts.container}",
        f"licence  {clip.source.license or 'not stated'}   dataset {clip.source.dataset}",
        f"caption  {clip.source.caption}",
    ]
    for stage, row in rows.items():
        end = "accepted" if row.reason is None else f"rejected: {row.reason}"
        text.append(f"{stage:<8} {end}  {row.seconds:.2f} s  {row.detail}".rstrip())
        text += [f"  {row.usage.line()}"] if row.usage else []
        text += [f"  {line}" for line in (SPECS[stage].lines(row.payload) if row.payload else ())]
        for dropped in getattr(row.payload, "dropped", ()):
            text.append(f"  dropped: {dropped.what}: {dropped.reason} {dropped.detail}".rstrip())
    return text
