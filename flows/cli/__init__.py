"""`matrix_data`: the pipeline's command line. Each command is a few lines here and its work elsewhere.

Exit codes: 0 done · 2 a mistake of the user's, said in one line · 3 clips still pending (run the same command again) ·
4 nothing accepted, or problems found · 130 stopped by Ctrl-C.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from flows.cli.prefect_home import use_local_prefect
from schemas.text import one_line, visible
from tasks.errors import InfrastructureError, UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Raw videos to verified interaction shards.",
)
console = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of output.")]
Out = Annotated[str, typer.Argument(help="The folder given to build as --out.")]
PENDING, NOTHING, STOPPED = 3, 4, 130


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="Folder or bucket of raw videos (any fsspec URL).")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the store, the dataset and the report.")],
    captions: Annotated[str | None, typer.Option(help="Caption table: CSV, JSON, JSONL or Parquet.")] = None,
    profile: Annotated[str, typer.Option(help="Name in profiles/, or path of a .yaml file.")] = "local",
    set_: Annotated[list[str], typer.Option("--set", help="One setting, a.b=c; may be repeated.")] = [],  # noqa: B006
    verbose: Annotated[bool, typer.Option(help="Show Prefect's own log.")] = False,
    as_json: Json = False,
) -> None:
    """Build a dataset. What is on record is not done again, so the same command resumes a build that was stopped."""
    from flows.cli.preflight import preflight
    from flows.settings import load_settings

    settings = load_settings(profile, set_, source=source, captions=captions, out=out)
    preflight(settings)
    use_local_prefect(out, verbose)
    from flows.cli.console import run_build  # imports Prefect, which reads the environment set above

    try:
        result = run_build(settings, console)
    except KeyboardInterrupt:
        console.print("stopped: nothing done is lost; the same command goes on from here")
        raise typer.Exit(STOPPED) from None
    emit(result.model_dump(mode="json", by_alias=True), as_json, result.lines())
    if result.pending:
        raise typer.Exit(PENDING)
    if result.dataset is None:
        raise typer.Exit(NOTHING)


@app.command()
def status(out: Out, as_json: Json = False) -> None:
    """The funnel on record: per stage in, accepted, rejected by reason, pending, poison, seconds and clips/s."""
    from flows.cli.show import funnel_lines
    from flows.context import plan_of
    from flows.progress import as_table, funnel

    plan = plan_of(out)
    lines = funnel(plan)
    poison = {t.stage: t.rejected["poison"] for t in lines if "poison" in t.rejected}
    found = {"funnel": as_table(lines), "poison": poison, "fingerprints": plan.fingerprints}
    emit(found, as_json, funnel_lines(lines))


@app.command()
def show(
    out: Out, clip: Annotated[str, typer.Argument(help="clip_id, or the first digits of one.")], as_json: Json = False
) -> None:
    """Everything known of a clip, with a contact sheet of its boxes and masks."""
    from flows.cli.show import describe
    from flows.context import plan_of

    found, text = describe(plan_of(out), clip)
    emit(found, as_json, text)


@app.command()
def retry(
    out: Out,
    rejected: Annotated[str, typer.Option(help="Reason code, as the funnel shows it.")],
    stage: Annotated[str | None, typer.Option(help="Only at this stage.")] = None,
    as_json: Json = False,
) -> None:
    """Take rejected clips off the record, so that the next build does them again."""
    from flows.cli.upkeep import forget_rejected

    gone = forget_rejected(out, rejected, stage)
    emit({"forgotten": gone}, as_json, [f"{sum(gone.values())} clips are pending again; run the build to do them"])


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="A dataset folder, or the out folder of a build.")],
    as_json: Json = False,
) -> None:
    """Re-hash every shard and check every entry; with a build's folder, also its store."""
    from flows.cli.upkeep import verify_any

    problems = verify_any(dataset)
    ok = not problems
    emit({"ok": ok, "problems": problems}, as_json, ["ok"] if ok else problems)
    if not ok:
        raise typer.Exit(NOTHING)


@app.command()
def score(
    out: Out,
    truth: Annotated[str, typer.Option(help="The folder that `matrix_data render` wrote.")],
    as_json: Json = False,
) -> None:
    """Hold a build over rendered videos against their truth."""
    from flows.cli.scoring import score_build

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
    from tasks.world import render_bucket

    if level not in ("plain", "hard"):
        raise UserError(f"--level {level}: choose plain or hard")
    raw = render_bucket(out, videos=videos, seed=seed, level=level, broken=broken, workers=workers)  # type: ignore[arg-type]
    emit({"raw": str(raw / "raw")}, as_json, [f"rendered into {raw}"])


@app.command()
def gc(
    out: Out, dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False, as_json: Json = False
) -> None:
    """Remove what earlier settings left behind (old fingerprints, set-aside parts, temporary files)."""
    from flows.cli.upkeep import collect_garbage

    gone = collect_garbage(out, dry_run)
    emit({"removed": gone, "dry_run": dry_run}, as_json, gone or ["nothing to remove"])


@app.command()
def doctor(
    profile: Annotated[str, typer.Option(help="Name in profiles/, or path of a .yaml file.")] = "local",
    set_: Annotated[list[str], typer.Option("--set", help="One setting, a.b=c; may be repeated.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Check that this machine can run a profile: packages, GPU, checkpoints, servers. Loads every model once."""
    from flows.cli.doctor import examine
    from flows.settings import load_settings

    settings = load_settings(profile, set_, source="none", out="none")
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            print(visible(finding.line()), flush=True)
    ok = all(f.ok for f in findings)
    emit({"ok": ok, "findings": [f.model_dump() for f in findings]}, as_json, [])
    if not ok:
        raise typer.Exit(NOTHING)


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything the demo makes.")] = Path("build/demo"),
    videos: Annotated[int, typer.Option(min=1)] = 24,
    as_json: Json = False,
) -> None:
    """Render a raw bucket, build it, score it, and say where to look."""
    from flows.cli.demo import run_demo

    found, text = run_demo(out, videos, console)
    emit(found, as_json, text)


def emit(found: dict[str, Any], as_json: bool, text: list[str]) -> None:
    """One JSON object as the last line, or lines for people."""
    if as_json:
        print(json.dumps(found, ensure_ascii=True), flush=True)
    else:
        for line in text:
            print(visible(line), flush=True)


def main() -> None:
    """Entry point: a user's mistake and a failure of the disk are one line, never a traceback."""
    try:
        app()
    except (UserError, InfrastructureError) as error:
        fail(str(error))
    except OSError as error:
        fail((error.strerror or str(error)) + (f": {error.filename}" if error.filename else ""))


def fail(message: str) -> NoReturn:
    """One line on stderr, whatever the message holds, and exit code 2."""
    console.print(Text.assemble(("error:", "bold red"), " ", one_line(message, 1000)), soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
