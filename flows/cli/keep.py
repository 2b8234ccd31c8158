"""`matrix_data retry`, `verify` and `gc`: looking after a folder between builds."""

from typing import Annotated

import typer

from flows.chunk import REPLIES
from flows.cli.base import NOTHING, Json, Out, app, emit
from flows.context import CLIPS, MARKS
from flows.legs import RECORDED
from flows.opened import BUILD_FILE, BUILDS, context_of
from flows.survey import TALLY
from schemas import Reason
from schemas.dataset import DATASET_FILE
from tasks.dataset.check import verify as verify_dataset
from tasks.errors import UserError
from tasks.review.journal import PEOPLE
from tasks.store.check import verify_store
from tasks.store.folder import TEMPORARY, Folder
from tasks.store.lease import LEASES, alone, others
from tasks.store.parts import TORN


@app.command()
def retry(
    out: Out,
    rejected: Annotated[str, typer.Option(help="Reason code, as the funnel shows it.")],
    stage: Annotated[str | None, typer.Option(help="Only at this stage.")] = None,
    as_json: Json = False,
) -> None:
    """Take rejected clips off the record, so that the next build does them again."""
    gone = forget_rejected(out, rejected, stage)
    emit({"forgotten": gone}, as_json, [f"{sum(gone.values())} clips are pending again; run the build to do them"])


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="A dataset folder, or the out folder of a build.")],
    as_json: Json = False,
) -> None:
    """Re-hash every shard and check every entry; with a build's folder, also its store."""
    problems = verify_any(dataset)
    ok = not problems
    emit({"ok": ok, "problems": problems}, as_json, ["ok"] if ok else problems)
    if not ok:
        raise typer.Exit(NOTHING)


@app.command()
def gc(
    out: Out, dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False, as_json: Json = False
) -> None:
    """Remove what earlier settings left behind (old fingerprints, set-aside parts, temporary files)."""
    gone = collect_garbage(out, dry_run)
    emit({"removed": gone, "dry_run": dry_run}, as_json, gone or ["nothing to remove"])


def forget_rejected(out: str, reason: str, stage: str | None) -> dict[str, int]:
    """Make clips that were rejected for `reason` pending again; returns how many at which stage."""

    if reason not in list(Reason):
        raise UserError(f"no reason code {reason!r}; there are: {', '.join(Reason)}")
    if stage is not None and stage not in RECORDED:
        raise UserError(f"no stage {stage!r}; there are: {', '.join(RECORDED)}")
    context = context_of(out)
    gone = {}
    with alone(out):
        for name in RECORDED if stage is None else (stage,):
            store = context.store(name)
            keys = [k for k, why in store.rejected().items() if why == reason]
            if keys:
                gone[name] = store.forget(keys)
    if not gone:
        raise UserError(f"nothing in {out} was rejected for {reason}" + (f" at {stage}" if stage else ""))
    return gone


def verify_any(path: str) -> list[str]:
    """Problems of a dataset folder, or of a build's store and its dataset, one line each."""

    folder = Folder(path)
    if folder.exists(DATASET_FILE):
        return [str(p) for p in verify_dataset(folder)]
    if not folder.exists(f"work/{BUILD_FILE}"):
        raise UserError(f"{path} holds neither {DATASET_FILE} nor a build: give a dataset or the --out of a build")
    found = verify_store(folder.below("work"))
    _have_counted_anew(folder.below("work"), {p.file.rpartition("/")[0] for p in found if p.file.endswith(".parquet")})
    problems = [str(p) for p in found]
    for name in folder.names("dataset"):
        problems += [f"dataset/{name}: {p}" for p in verify_dataset(folder.below(f"dataset/{name}"))]
    return problems


def _have_counted_anew(work: Folder, chunks: set[str]) -> None:
    """Take the tallies of chunks away in which something is wrong: the next build opens these, and mends them."""
    for chunk in chunks:
        for name in work.names(chunk):
            if name.startswith(TALLY):
                work.remove(f"{chunk}/{name}")


def collect_garbage(out: str, dry_run: bool) -> list[str]:
    """Remove stage folders of other fingerprints, parts set aside as torn, and temporary files. Datasets stay."""

    context = context_of(out)
    gone, work = [], context.folder
    with alone(out):
        if busy := others(work):
            raise UserError(f"{busy[0]} is at work in {out}: wait for it to end")
        known = {*RECORDED, REPLIES, CLIPS, LEASES, BUILDS, MARKS, PEOPLE, "prefect"}
        gone += [n for n in work.names() if n not in known and work.is_folder(n)]
        for stage in RECORDED:
            gone += [f"{stage}/{name}" for name in work.names(stage) if name != context.fingerprints[stage]]
            gone += _left_behind(work, context.place(stage))
        gone += [f"{CLIPS}/{name}" for name in work.names(CLIPS) if name != context.fingerprints["ingest"]]
        gone += _left_behind(work, context.media)
        gone += [f"{REPLIES}/{name}" for name in work.names(REPLIES) if name not in RECORDED]
        gone += [name for name in _left_behind(work, REPLIES) if name.split("/")[1] in RECORDED]
        if not dry_run:
            for name in gone:
                work.remove(name)
    return [f"work/{name}" for name in gone]


def _left_behind(work: Folder, folder: str) -> list[str]:
    """Temporary files of killed runs and parts set aside as torn, however deep below a folder."""
    bases = ((name, name.rpartition("/")[2]) for name, _ in work.walk(folder))
    return [f"{folder}/{name}" for name, base in bases if base.startswith((TEMPORARY, TORN))]
