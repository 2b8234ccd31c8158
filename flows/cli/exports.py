"""`matrix_data export` and `import`: finished datasets for and from others. Needs no engine, source or Prefect."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.cli.base import Json, app, console, emit
from flows.opened import BUILDS, context_of, dataset_of
from tasks.errors import UserError
from tasks.exports.coco import Coco
from tasks.exports.hub import Hub
from tasks.exports.labels import Labels
from tasks.exports.making import make_dataset
from tasks.exports.matrix import Matrix
from tasks.exports.matrix_import import digest_of, fingerprints_of, read_entry, read_metadata
from tasks.exports.opening import open_dataset
from tasks.exports.rebuilding import entry_maker, find_copies, read_labels
from tasks.exports.running import Format, export
from tasks.exports.sav import Sav
from tasks.exports.tables import Csv
from tasks.ingest.stage import IngestSettings
from tasks.review.audit import FIGURES
from tasks.scan.listing import ScanSettings
from tasks.shard.card import read_audit
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder

FORMATS: dict[str, Callable[[Folder], Format]] = {
    "matrix": Matrix, "coco": Coco, "sav": Sav, "csv": Csv,
}  # fmt: skip

ALL = (*FORMATS, "hf", "labels")
"""Those two take more than a folder."""

SAY_EVERY_S = 10.0
"""How often progress is told where there is no terminal."""

Filter = Annotated[str, typer.Option("--filter", help='Which samples, e.g. "verb=hold ids<=3" (docs/export.md).')]


@app.command("export")
def export_dataset(
    dataset: Annotated[str, typer.Argument(help="A dataset folder, or the out folder of a build.")],
    form: Annotated[str, typer.Option("--format", help="matrix, coco, sav, hf, csv or labels (no pixels).")],
    out: Annotated[str, typer.Option(help="Folder to write, local or in a bucket. The same command resumes.")],
    text: Filter = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples.")] = None,
    audit: Annotated[
        str | None, typer.Option(help="hf: the folder of another `matrix_data audit` than the dataset's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a dataset in the layout of other tools."""
    if form not in ALL:
        raise UserError(f"--format {form}: choose {', '.join(ALL)}")
    if audit is not None and form != "hf":
        raise UserError("--audit is for --format hf, whose card has room for it")
    data, dest = open_dataset(dataset_of(dataset)), Folder(out)
    maker: Format
    if form == "labels":
        maker = Labels(dest, ingest_of(data.folder))
    elif form == "hf":
        maker = Hub(dest, audit_of(data.folder, audit))
    else:
        maker = FORMATS[form](dest)
    with progress(form) as tell:
        found = export(data, maker, text, limit, tell)
    left_out = "".join(f", {n} left out: {reason} (left_out.csv)" for reason, n in found["left_out"].items())
    emit({**found, "out": dest.uri}, as_json, [f"{found['clips']} samples in {dest.uri}{left_out}"])


def ingest_of(dataset: Folder) -> IngestSettings:
    """How the build that made a dataset has cut its clips. UserError where its record is not beside the dataset."""
    out, _, name = dataset.uri.rpartition("/dataset/")
    for file in Folder(out).names(f"work/{BUILDS}") if out else []:
        build = context_of(out, file.removesuffix(".json"))
        if build.fingerprints["shard"] == name:
            found = build.settings.of("ingest")
            assert isinstance(found, IngestSettings)
            return found
    raise UserError(
        f"--format labels needs how the clips were cut, which stands in the build's own folder, and {dataset.uri} does "
        "not lie in one: give the --out of the build"
    )


def audit_of(dataset: Folder, audit: str | None) -> dict[str, Any] | None:
    """The figures for the card: those of an audit's folder, or those that the dataset has itself. UserError."""
    if audit is None:
        return read_audit(dataset)
    found = read_audit(Folder(audit), FIGURES)
    if found is None:
        raise UserError(f"no {FIGURES} in {audit}: answer some questions of `matrix_data audit`, or leave --audit out")
    return found


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, else a line now and then; both on standard error."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            console.print(f"{what}: {done} of {total}", highlight=False)

    yield say


@app.command("import")
def import_dataset(
    source: Annotated[str, typer.Argument(help="Folder in the authors' layout, or written by --format matrix.")],
    out: Annotated[str, typer.Option(help="Folder of the new dataset. The same command resumes.")],
    form: Annotated[str, typer.Option("--format", help="matrix.")] = "matrix",
    val_share: Annotated[float, typer.Option(min=0, max=1, help="Share of videos held out.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Make a dataset of a folder in the authors' layout."""
    if form != "matrix":
        raise UserError(f"--format {form}: only matrix can be imported")
    folder, dest = Folder(source), Folder(out)
    told = read_metadata(folder)
    prints = fingerprints_of(folder, told)
    plan = {"import": folder.uri, "rows": digest_of(told), "val_share": val_share}
    with progress("import") as tell:
        found = make_dataset(
            dest,
            plan,
            told,
            lambda one: read_entry(folder, one, prints),
            ShardSettings(val_share=val_share),
            prints,
            tell,
        )
    emit_made(found, dest, as_json)


@app.command()
def rebuild(
    labels: Annotated[str, typer.Argument(help="Folder that --format labels wrote.")],
    videos: Annotated[str, typer.Option(help="Your own copies of the videos: folder or bucket, under any names.")],
    out: Annotated[str, typer.Option(help="Folder of the dataset. The same command resumes.")],
    as_json: Json = False,
) -> None:
    """Cut the clips of labels that came without pixels out of your own videos, byte for byte."""
    told, dest, scan = read_labels(Folder(labels)), Folder(out), ScanSettings()
    with progress("videos") as tell:
        copies = find_copies(told, videos, scan, tell)
    plan = {"labels": told.identity}
    with progress("clips") as tell:
        entry = entry_maker(told, copies, scan)
        found = make_dataset(dest, plan, told.clips, entry, told.shards, told.fingerprints, tell)
    emit_made(found, dest, as_json)


def emit_made(found: dict[str, Any], dest: Folder, as_json: bool) -> None:
    """How many samples there are, and each thing that was left out, with its reason."""
    text = [f"left out: {line}" for line in found["details"]]
    emit({**found, "dataset": dest.uri}, as_json, [*text, f"{found['samples']} samples in {dest.uri}"])
