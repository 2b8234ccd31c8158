"""`matrix_train`: the trainer's command line. Each command is a few lines here and its work elsewhere.

Exit codes: 0 done · 1 some videos failed, each told, or one came out otherwise than recorded · 2 a mistake of the
user's, said in one line · 130 and 143 a run stopped by Ctrl-C and SIGTERM, its checkpoint written.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.text import Text

from matrix_train.cli.base import Json, console, emit
from matrix_train.cli.sampling import sample
from matrix_train.errors import UserError
from matrix_train.fit.stop import Stopped
from schemas.text import one_line

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Interaction-aware LoRAs on video diffusion transformers: LoRA + SGA + SPA.",
)

ConfigFile = Annotated[Path, typer.Argument(help="YAML, as those in configs/.")]
Set = Annotated[list[str], typer.Option("--set", help="One setting, a.b=c; may be repeated.")]


@app.command()
def fit(
    config: ConfigFile,
    set_: Set = [],  # noqa: B006
    resume: Annotated[str, typer.Option(help="auto: go on from the newest checkpoint of train.out.")] = "never",
    precompute: Annotated[bool, typer.Option("--precompute", help="Fill train.cache, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what a step will cost, and stop.")] = False,
    layers: Annotated[
        Path | None, typer.Option(help="layers.json of analyze: its blocks for SGA, SPA and LoRA, under --set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train LoRA, input projection and decoders with SGA and SPA on the shards of a data set."""
    if resume not in ("auto", "never"):
        raise UserError(f"--resume {resume}: give auto or never")
    from matrix_train.analyze.layers import check_backbone, settings_of
    from matrix_train.config import load_config  # imports torch, which takes seconds

    chosen = [] if layers is None else settings_of(layers)
    settings = load_config(config, [*chosen, *set_])  # a mistake is told before diffusers and all else is imported

    from matrix_train.cli.commands import fit_command

    if layers is not None:
        check_backbone(layers, settings)
    emit(fit_command(settings, resume == "auto", precompute, dry_run, console), as_json)


@app.command()
def inspect(
    config: ConfigFile,
    set_: Set = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for the contact sheets.")] = Path("build/inspect"),
    split: Annotated[str, typer.Option(help="train or val")] = "train",
    batches: Annotated[int, typer.Option(min=1)] = 2,
    position: Annotated[int, typer.Option(min=0, help="Batches to skip first, as in a resumed run.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what training batches hold: shapes, role tokens, masks, ID map; contact sheets as PNG."""
    from matrix_train.cli.commands import inspect_command

    if split not in ("train", "val"):
        raise UserError(f"--split {split}: give train or val")
    emit(inspect_command(config, set_, out, "val" if split == "val" else "train", batches, position, console), as_json)


@app.command()
def bench(
    backbone: Annotated[str | None, typer.Option(help="Name of a backbone; the first one by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    mode: Annotated[str, typer.Option(help="logits, centred or softmax")] = "centred",
    rounds: Annotated[int | None, typer.Option(min=1, help="Timed rounds of every arm.")] = None,
    blocks: Annotated[int | None, typer.Option(min=3, help="Blocks of the model.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads of the model.")] = None,
    stride: Annotated[int, typer.Option(help="Pixels between supervised points: 1, 2, 4 or 8.")] = 1,
    dense: Annotated[bool, typer.Option("--dense/--no-dense", help="Also the authors' way, as a yardstick.")] = True,
    ladder: Annotated[bool, typer.Option("--ladder", help="Which technique gives what, rung by rung.")] = False,
    rung: Annotated[list[int], typer.Option(help="Only this rung of the ladder, from 1 on; may be repeated.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Time, memory and FLOPs that alignment adds to a step, on random weights; minutes on a CPU."""
    from matrix_train.cli.commands import bench_command

    emit(bench_command(backbone, device, mode, rounds, blocks, heads, stride, dense, ladder, rung, console), as_json)


@app.command()
def analyze(
    target: Annotated[Path | None, typer.Argument(help="YAML as for fit, or a run folder of it.")] = None,
    model: Annotated[str | None, typer.Option(help="Instead: a pipeline of diffusers, by its recipe.")] = None,
    set_: Set = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder of the table, layers.json and report.html.")] = Path(
        "build/analyze"
    ),
    clips: Annotated[int, typer.Option(min=1, help="Clips of the split; all where it has fewer.")] = 64,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")] = 50,
    split: Annotated[str, typer.Option(help="train or val")] = "val",
    generated: Annotated[
        bool, typer.Option("--generated", help="Clips that the model makes, as it makes them.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of clip and label or score; or scores.json, or review.parquet.")
    ] = None,
    keep_maps: Annotated[str | None, typer.Option(help="Blocks and steps whose maps are kept: 7,11@0,25.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Profile whose tracker follows generated clips; embedded else.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the blocks that ground words and carry instances: AAS of every block and denoising step."""
    if split not in ("train", "val"):
        raise UserError(f"--split {split}: give train or val")
    if (target is None) == (model is None):
        raise UserError("give a configuration or a run folder, or a pipeline by --model")
    from matrix_train.cli.analyze import analyze_command

    side: Literal["train", "val"] = "val" if split == "val" else "train"
    emit(
        analyze_command(target, model, set_, out, clips, steps, side, generated, labels, keep_maps, profile, console),
        as_json,
    )


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder of fit.")],
    out: Annotated[Path, typer.Argument(help="New folder for the exported files.")],
    checkpoint: Annotated[Path | None, typer.Option(help="The run's step-* folder; by default the newest.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="A whole transformer with the LoRA merged in.")] = False,
    base_path: Annotated[str | None, typer.Option(help="Where the base model is now; for --merged.")] = None,
    as_json: Json = False,
) -> None:
    """Write a run's LoRA and input projection for diffusers and ComfyUI, or a merged transformer."""
    from matrix_train.cli.commands import export_command

    emit(export_command(run, out, checkpoint, merged, base_path, console), as_json)


app.command()(sample)


@app.command()
def idmap(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP.")],
    out: Annotated[Path, typer.Option(help="The palette PNG.")],
    box: Annotated[list[str], typer.Option(help="id1=x0,y0,x1,y1 in pixels; may be repeated.")] = [],  # noqa: B006
    point: Annotated[list[str], typer.Option(help="id1=x,y in pixels; may be repeated.")] = [],  # noqa: B006
    profile: Annotated[Path | None, typer.Option(help="Profile whose tracker cuts the masks; embedded else.")] = None,
    as_json: Json = False,
) -> None:
    """Make an ID map from boxes and points by a tracker engine."""
    from matrix_train.cli.sample import idmap_command

    emit(idmap_command(image, box, point, out, profile, console), as_json)


@app.command()
def evaluate(
    folders: Annotated[
        list[Path], typer.Argument(help="Videos, or a folder of videos a model; with --compare, folders of results.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; goes on from what it holds.")],
    judge: Annotated[
        str,
        typer.Option(
            help="truth: the world's; tracks: from tracks alone; vlm: the profile's verifier; files: written answers."
        ),
    ] = "truth",
    world: Annotated[Path | None, typer.Option(help="Folder of the rendered world that the videos are of.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="JSON lines, one a video: what each is held to.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile, or its name: its verifier and its tracker.")] = None,
    bias: Annotated[
        Path | None, typer.Option(help="Folder of a rendered world: how often vlm says yes to what is false there.")
    ] = None,
    vbench: Annotated[
        Path | None, typer.Option(help="…_eval_results.json of VBench, {model} in its path for several models.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Differences to the first folder, with intervals.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score who does what to whom: KISA, SGI, SPI and IF of InterGenEval."""
    from matrix_train.cli.evaluate import Request, evaluate_command

    found = evaluate_command(folders, Request(out, judge, world, prompts, profile, compare, bias, vbench), console)
    emit(found, as_json)
    if found.get("failed"):
        raise typer.Exit(1)


def main() -> None:
    """Entry point."""
    try:
        app()
    except Stopped as error:
        fail(str(error), error.code)
    except UserError as error:
        fail(str(error))
    except OSError as error:
        fail((error.strerror or str(error)) + (f": {error.filename}" if error.filename else ""))


def fail(message: str, code: int = 2) -> NoReturn:
    """One line on stderr, whatever the message holds, and the exit code."""
    word = ("error ", "red") if code == 2 else ""
    console.print(Text.assemble(word, one_line(message, 2000)), soft_wrap=True, highlight=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
