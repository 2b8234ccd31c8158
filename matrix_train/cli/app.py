"""`matrix_train`: the trainer's command line. Each command is a few lines here and its work elsewhere.

Exit codes: 0 done · 2 a mistake of the user's, said in one line · 130 and 143 a run stopped by Ctrl-C and SIGTERM, its
checkpoint written.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

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
console = Console(stderr=True)

ConfigFile = Annotated[Path, typer.Argument(help="YAML, as those in configs/.")]
Set = Annotated[list[str], typer.Option("--set", help="One setting, a.b=c; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of output.")]


@app.command()
def fit(
    config: ConfigFile,
    set_: Set = [],  # noqa: B006
    resume: Annotated[str, typer.Option(help="auto: go on from the newest checkpoint of train.out.")] = "never",
    precompute: Annotated[bool, typer.Option("--precompute", help="Fill train.cache, and stop.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what a step will cost, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train LoRA, input projection and decoders with SGA and SPA on the shards of a data set."""
    if resume not in ("auto", "never"):
        raise UserError(f"--resume {resume}: give auto or never")
    from matrix_train.config import load_config  # imports torch, which takes seconds

    settings = load_config(config, set_)  # a mistake in them is told before diffusers and all else is imported

    from matrix_train.cli.commands import fit_command

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
def export(
    run: Annotated[Path, typer.Argument(help="Run folder of fit.")],
    out: Annotated[Path, typer.Argument(help="New folder for the exported files.")],
    checkpoint: Annotated[Path | None, typer.Option(help="The run's step-* folder; by default the newest.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="A whole transformer with the LoRA merged in.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's LoRA and input projection for diffusers and ComfyUI, or a merged transformer."""
    from matrix_train.cli.commands import export_command

    emit(export_command(run, out, checkpoint, merged, console), as_json)


@app.command()
def evaluate(
    folders: Annotated[list[Path], typer.Argument(help="Videos; with --compare, folders of results.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; goes on from what it holds.")],
    world: Annotated[Path | None, typer.Option(help="Folder of the rendered world that the videos are of.")] = None,
    judge: Annotated[str, typer.Option(help="truth: from the world's tracks and events.")] = "truth",
    compare: Annotated[
        bool, typer.Option("--compare", help="Differences to the first folder, with intervals.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score who does what to whom: KISA, SGI, SPI and IF of InterGenEval."""
    from matrix_train.cli.evaluate import evaluate_command

    emit(evaluate_command(folders, out, world, judge, compare, console), as_json)


def emit(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))


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
