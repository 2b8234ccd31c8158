"""`matrix_data render` and `score`: raw videos whose truth is known, and a build of them held against it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from flows.chunk import Chunk
from flows.cli.base import Json, Out, app, emit
from flows.context import Context
from flows.legs import RECORDED, SPECS
from flows.opened import context_of
from schemas import Reason
from tasks.errors import UserError
from tasks.outcome import Case
from tasks.select.deciding import caption_key
from tasks.select.stage import captions_of
from tasks.world import load_truth, render_bucket
from tasks.world.score.score import Score
from tasks.world.score.score import score as score_cases


@app.command()
def score(
    out: Out,
    truth: Annotated[str, typer.Option(help="The folder that `matrix_data render` wrote.")],
    as_json: Json = False,
) -> None:
    """Hold a build over rendered videos against their truth."""
    found = score_build(out, Path(truth))
    emit(found.model_dump(mode="json"), as_json, found.lines())


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder to write raw/, captions and truth/ into.")],
    videos: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 24,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    level: Annotated[str, typer.Option(help="plain or hard")] = "plain",
    broken: Annotated[bool, typer.Option(help="Add one of every broken kind.")] = True,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Render raw videos whose truth is known."""
    if level not in ("plain", "hard"):
        raise UserError(f"--level {level}: choose plain or hard")
    raw = render_bucket(out, videos=videos, seed=seed, level=level, broken=broken, workers=workers)  # type: ignore[arg-type]
    emit({"raw": str(raw / "raw")}, as_json, [f"rendered into {raw}"])


def score_build(out: str, truth: Path) -> Score:
    """Score of the build under `out` against the truth rendered into `truth`."""
    context = context_of(out)
    return score_cases(reached(context), load_truth(truth), outcomes(context))


def reached(context: Context) -> Iterator[Case]:
    """Every clip that passed dedupe, with the records of the stages that accepted it, one at a time."""
    for name, rows in context.store("dedupe").chunks.items():
        yield from map(Chunk(context, name).reached, rows.accepted())


def outcomes(context: Context) -> dict[str, str]:
    """How each file ended, by name: 'accept', 'pending', or the reason code of the stage that rejected it.

    A file with several clips ends as the one that came furthest. Captions without a video stand under their own name.
    """
    scan, select, ingest = (context.store(stage) for stage in ("scan", "select", "ingest"))
    decided = select.keys()
    ends = {row.name: str(Reason.NO_VIDEO) for row in captions_of(context.settings).rows if caption_key(row) in decided}
    sources = {file: source for source, file in select.links().items()}
    clips: dict[str, list[tuple[int, str]]] = {}
    of_clips = clip_ends(context)
    for clip, source in ingest.links().items():
        clips.setdefault(source, []).append(of_clips.get(clip, (0, "pending")))
    rejected = [scan.rejected(), select.rejected()], ingest.rejected()
    for found in context.at_work("scan").listed():
        source = sources.get(found.key, "")
        ended = next((reasons[found.key] for reasons in rejected[0] if found.key in reasons), rejected[1].get(source))
        ends[found.name] = ended or max(clips.get(source, []), default=(0, "pending"))[1]
    return ends


def clip_ends(context: Context) -> dict[str, tuple[int, str]]:
    """By clip, how many stages it passed, and how it ended."""
    ends: dict[str, tuple[int, str]] = {}
    stages = [stage for stage in RECORDED if SPECS[stage].unit == "clips"]
    for passed, stage in enumerate(stages):
        rows = context.store(stage)
        ends |= {clip: (passed, reason) for clip, reason in rows.rejected().items()}
        last = "accept" if passed + 1 == len(stages) else "pending"
        ends |= dict.fromkeys(rows.accepted(), (passed + 1, last))
    return ends
