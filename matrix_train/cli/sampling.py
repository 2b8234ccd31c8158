"""`matrix_train sample`: its options, and which of its four ways takes which. The work is in `sample.py`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from matrix_train.cli.base import Json, console, emit
from matrix_train.errors import UserError

WAYS = ("image", "table", "dataset", "again")
"""One job, a table of them, held-out clips, and a video once more: the option that is given says which."""

_JOB = ("prompt", "idmap", "box", "point", "role")
_HOW = (
    "cmg", "cag", "cmg_block", "cag_block", "steps", "guidance", "frames", "height", "width", "fps", "tiling",
    "compile_", "checkpoint", "precision",
)  # fmt: skip
TAKEN = {
    **dict.fromkeys(_JOB, ("image",)),
    **dict.fromkeys(("split", "limit", "base"), ("dataset",)),
    **dict.fromkeys(_HOW, ("image", "table", "dataset")),
    "seed": ("image", "dataset"), "batch": ("table", "dataset"), "profile": ("image", "table"),
}  # fmt: skip
"""Which ways take an option; one that is not here every way takes. A job of a table has a seed of its own, held-out
clips and records have their masks, and a record says how its video is made."""


def sample(
    given: typer.Context,
    run: Annotated[Path | None, typer.Argument(help="Run folder, exported LoRA or merged model.")] = None,
    image: Annotated[str | None, typer.Option(help="First frame: PNG, JPEG or WebP.")] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="The caption; with tags where the run was trained on them, or words marked as <id1>a man</id1>."
        ),
    ] = None,
    idmap: Annotated[str | None, typer.Option(help="Palette PNG of the image's size (matrix_train idmap).")] = None,
    box: Annotated[list[str], typer.Option(help="id1=x0,y0,x1,y1 in place of an ID map.")] = [],  # noqa: B006
    point: Annotated[list[str], typer.Option(help="id1=x,y likewise.")] = [],  # noqa: B006
    role: Annotated[list[str], typer.Option(help='Words that mean an ID: id1="the man"; id1+id2=lifts.')] = [],  # noqa: B006
    table: Annotated[Path | None, typer.Option(help="JSON lines, a job each.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set whose held-out clips are sampled.")] = None,
    split: Annotated[str, typer.Option(help="train or val")] = "val",
    limit: Annotated[int, typer.Option(min=1, help="Clips of the data set.")] = 16,
    base: Annotated[bool, typer.Option("--base", help="Also by the base model, beside it.")] = False,
    again: Annotated[Path | None, typer.Option(help="JSON beside a video: make that one once more.")] = None,
    out: Annotated[Path | None, typer.Option(help="The mp4; a folder with --table and --dataset.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    cmg: Annotated[float | None, typer.Option(help="s of cross-modal guidance; 0: none.")] = None,
    cag: Annotated[float | None, typer.Option(help="s of cross-frame attention guidance; 0: none.")] = None,
    cmg_block: Annotated[list[int], typer.Option(help="Block of CMG; the recipe's SGA blocks by default.")] = [],  # noqa: B006
    cag_block: Annotated[list[int], typer.Option(help="Block of CAG; the recipe's SPA blocks by default.")] = [],  # noqa: B006
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Classifier-free guidance; 1: none.")] = None,
    frames: Annotated[int | None, typer.Option()] = None,
    height: Annotated[int | None, typer.Option()] = None,
    width: Annotated[int | None, typer.Option()] = None,
    fps: Annotated[float | None, typer.Option(help="The model's, or a data set's clip's, by default.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="The run's step-* folder; by default the newest.")] = None,
    base_path: Annotated[str | None, typer.Option(help="Where the base model is now, if it has moved.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp32; the run's by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Jobs whose parts go to the device together.")] = 1,
    offload: Annotated[bool, typer.Option("--offload", help="Parts wait in the host's memory.")] = False,
    tiling: Annotated[bool, typer.Option("--tiling/--no-tiling", help="The VAE decodes tile by tile.")] = True,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the blocks that no guidance reaches.")] = False,
    profile: Annotated[Path | None, typer.Option(help="Profile whose tracker makes masks of boxes and points.")] = None,
    as_json: Json = False,
) -> None:
    """Make videos from a picture, an ID map and a prompt; from a table of such jobs; or of held-out clips."""
    way = _way(given)
    if (run is None) != (again is not None):
        raise UserError(
            "sample: give the run folder, exported LoRA or merged model first; only --again knows it itself"
        )
    if out is None and again is None:
        raise UserError("sample: say by --out where the result is to go")
    if image is not None and prompt is None:
        raise UserError("sample: say by --prompt what happens in the video")
    if precision not in (None, "bf16", "fp32"):
        raise UserError(f"--precision {precision}: give bf16 or fp32")
    _check_taken(given, way)
    from matrix_train.cli import sample as work  # imports diffusers, which takes seconds
    from matrix_train.cli.commands import quieten_libraries

    quieten_libraries()
    options: dict[str, Any] = {
        "cmg": cmg, "cag": cag, "cmg_blocks": cmg_block or None, "cag_blocks": cag_block or None, "steps": steps,
        "guidance": guidance, "frames": frames, "height": height, "width": width, "fps": fps, "tiling": tiling,
        "compile": compile_,
    }  # fmt: skip
    how = work.How(device, batch, offload, profile, {name: v for name, v in options.items() if v is not None})
    if again is not None:
        found = work.sample_again(again, out, base_path, how, console)
    else:
        assert run is not None
        assert out is not None
        source = work.source_of(run, checkpoint, base_path, precision)
        if table is not None:
            found = work.sample_table(source, table, out, how, console)
        elif dataset is not None:
            found = work.sample_dataset(source, dataset, split, limit, seed, base, out, how, console)
        else:
            job = {
                "image": image, "prompt": prompt, "idmap": idmap, "seed": seed, "roles": work.roles_of(role),
                "boxes": work.places(box, 4, "--box", "id1=x0,y0,x1,y1"),
                "points": work.places(point, 2, "--point", "id1=x,y"),
            }  # fmt: skip
            found = work.sample_job(source, job, out, how, console)
    emit(found, as_json)
    if found.get("failed") or found.get("same") is False:
        raise typer.Exit(1)


def _told(given: typer.Context) -> dict[str, str]:
    """Of the parameters that are given on the command line, the names by which people know them."""
    told = {
        name for name in given.params if (found := given.get_parameter_source(name)) and found.name == "COMMANDLINE"
    }
    return {str(one.name): one.opts[0] for one in given.command.params if one.name in told}


def _way(given: typer.Context) -> str:
    """UserError where not one way is chosen."""
    chosen = [name for name in WAYS if name in _told(given)]
    if len(chosen) != 1:
        names = ", ".join(f"--{name}" for name in WAYS)
        got = ", ".join(f"--{name}" for name in chosen) or "none"
        raise UserError(f"sample: give one of {names}, got {got}")
    return chosen[0]


def _check_taken(given: typer.Context, way: str) -> None:
    """UserError where an option is given that would change nothing."""
    if idle := [option for name, option in _told(given).items() if way not in TAKEN.get(name, WAYS)]:
        raise UserError(f"sample: {', '.join(idle)} would change nothing with --{way}: leave that out")
