"""`matrix_data demo`: the whole way in one command, on videos whose truth is known."""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.base import Json, app, console, emit
from flows.cli.look import funnel_lines
from flows.cli.prefect_home import use_local_prefect
from flows.cli.preflight import preflight
from flows.cli.world import score_build
from flows.opened import context_of
from flows.resume import resume_command
from flows.settings import load_settings
from schemas.text import visible
from tasks.errors import UserError
from tasks.world import render_bucket

SEED = 11
RECORD = "demo.json"
"""In the world: what it was rendered with."""
VAL_SHARE = 0.2
TINY = Path(__file__).parents[2] / "matrix_train/configs/tiny.yaml"
STEPS = 60


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything the demo makes.")] = Path("build/demo"),
    videos: Annotated[int, typer.Option(min=1)] = 24,
    as_json: Json = False,
) -> None:
    """Render a raw bucket, build it, score it, and say where to look; again: go on from where it was ended."""
    found, text = run_demo(out, videos, console)
    emit(found, as_json, text)


def run_demo(folder: Path, videos: int, console: Console) -> tuple[dict[str, Any], list[str]]:
    """Render into `folder/world`, build into `folder/out`, score, fit the tiny model into `folder/train`.

    Returns the numbers and the text to print.
    """
    began = time.perf_counter()
    world, out = folder / "world", str(folder / "out")
    render_once(world, videos, console)
    rendered = time.perf_counter()
    console.print(f"building the dataset in {out} (the first start of Prefect's own server takes some seconds) …")
    captions = str(next(world.glob("captions.*")))
    # A tenth or so of so few clips may be none; the tiny fit wants some to validate on.
    settings = load_settings(
        "local", [f"shard.val_share={VAL_SHARE}"], source=str(world / "raw"), captions=captions, out=out
    )
    preflight(settings)
    use_local_prefect(out, verbose=False)
    from flows.cli.console import run_build  # imports Prefect, which reads the environment set above

    result = run_build(settings, console)
    score = score_build(out, world)
    fitted = time.perf_counter()
    training, losses = fit_tiny(Path(result.dataset), folder / "train", console) if result.dataset else ([], {})
    seconds = {
        "render": round(rendered - began, 1),
        "build": result.seconds,
        "fit": round(time.perf_counter() - fitted, 1),
        "all": round(time.perf_counter() - began, 1),
    }
    found = {
        **result.model_dump(mode="json", by_alias=True),
        "score": score.model_dump(mode="json"),
        "fit": losses,
        "demo_seconds": seconds,
    }
    text = [
        *funnel_lines(context_of(out).funnel()),
        "",
        *score.lines(),
        "",
        f"shards   {result.dataset}",
        f"report   {result.report}",
        f"resume   {typed(resume_command(settings))}",
        "",
        *training,
        "",
        f"rendered in {seconds['render']} s, built in {seconds['build']:.1f} s, fitted in {seconds['fit']} s",
    ]
    return found, text


def render_once(world: Path, videos: int, console: Console) -> None:
    """The raw bucket, whole or absent. One that a demo of as many videos has rendered is there already."""
    about, record = json.dumps({"videos": videos, "seed": SEED}).encode(), world / RECORD
    if record.is_file():
        if record.read_bytes() != about:
            raise UserError(f"{world.parent} holds another demo: give another folder (make demo OUT=…), or delete it")
        console.print(f"{world / 'raw'} is rendered already")
        return
    if world.exists():
        raise UserError(f"{world} is there, and of no demo: give another folder (make demo OUT=…), or delete it")
    console.print(f"rendering {videos} raw videos and one of every broken kind into {world / 'raw'} …")
    making = world.with_name(f".{world.name}-making")
    shutil.rmtree(making, ignore_errors=True)  # of a demo that was ended
    render_bucket(making, videos=videos, seed=SEED, level="plain", broken=True, workers=2)
    (making / RECORD).write_bytes(about)
    making.rename(world)


def fit_tiny(dataset: Path, folder: Path, console: Console) -> tuple[list[str], dict[str, Any]]:
    """A minute of `matrix_train fit` on the new shards: lines to print and the last losses.

    By its command line, since the pipeline knows nothing of the trainer. A run of an earlier demo is gone on with.
    """
    console.print(f"fitting the tiny model on the shards, {STEPS} steps …")
    sets = {
        "data.dataset": dataset, "model.path": folder / "model", "train.cache": folder / "cache",
        "train.out": folder / "run", "train.steps": STEPS, "log.every": 5, "validation.every": STEPS,
        "validation.clips": 4, "validation.videos": 1, "validation.video_every": STEPS,
    }  # fmt: skip
    words = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    fit = [sys.executable, "-m", "matrix_train", "fit", str(TINY), *words, "--json"]
    found = json.loads(_run([*fit, "--resume", "auto"], console).splitlines()[-1])
    before, after = _alignment_losses(folder / "run/metrics.jsonl")
    shown = shlex.quote(str(folder / "run"))
    lines = [
        f"fit      {folder / 'run'}",
        f"         SGA's loss on held-out clips {before:.2f} → {after:.2f} in {found['step']} steps",
        f"         {typed('tensorboard')} --logdir {shown}   and samples/, checkpoints/, metrics.jsonl in it",
        f"inspect  {typed('matrix_train')} inspect {shown}/config.yaml",
    ]
    return lines, found


def _run(command: list[str], console: Console) -> str:
    """What it prints; what it says meanwhile goes to the console, line by line."""
    last = "no message"
    with tempfile.TemporaryFile("w+") as printed:
        with subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True, errors="replace") as running:
            assert running.stderr is not None
            for line in filter(str.strip, running.stderr):
                last = visible(line.strip())
                console.print(f"  {last}", markup=False, highlight=False, soft_wrap=True)
        if running.returncode:
            raise UserError(f"the tiny fit failed: {last}")
        printed.seek(0)
        return printed.read()


def typed(command: str) -> str:
    """A command of ours as it is typed here: with the folder that it lies in, where the shell does not look into it."""
    program = command.partition(" ")[0]
    here = Path(sys.executable).with_name(program)
    if not here.exists() or Path(shutil.which(program) or "").absolute() == here:
        return command
    near = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    return shlex.quote(str(near)) + command.removeprefix(program)


def _alignment_losses(metrics: Path) -> tuple[float, float]:
    """SGA's held-out loss at the first and at the last validation."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    values = [row["val.sga"] for row in rows if "val.sga" in row]
    return values[0], values[-1]
