"""`matrix_data build`: settings, what can go wrong before the first clip, then the flow in this process."""

from typing import Annotated

import typer

from flows.cli.base import NOTHING, PENDING, STOPPED, Json, Profile, Sets, app, console, emit
from flows.cli.forecast import fetch_all
from flows.cli.prefect_home import use_local_prefect
from flows.cli.preflight import preflight
from flows.legs import RECORDED
from flows.settings import load_settings
from schemas.text import visible


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="Folder or bucket of raw videos (any fsspec URL).")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the store, the dataset and the report.")],
    captions: Annotated[str | None, typer.Option(help="Caption table: CSV, JSON, JSONL or Parquet.")] = None,
    profile: Profile = "local",
    set_: Sets = [],  # noqa: B006
    verbose: Annotated[bool, typer.Option(help="Show Prefect's own log.")] = False,
    as_json: Json = False,
) -> None:
    """Build a dataset. What is on record is not done again, so the same command resumes a build that was stopped."""
    settings = load_settings(profile, set_, source=source, captions=captions, out=out)
    console.print(f"starting: {len(RECORDED)} stages, source {visible(source)}, out {visible(out)}", markup=False)
    preflight(settings)
    fetch_all(settings)  # here, where progress bars of downloads have the terminal to themselves
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
