"""`matrix_data retry`, `verify` and `gc`: looking after a folder between builds."""

from typing import Annotated

import typer

from flows.cli.base import NOTHING, Json, Out, app, emit
from flows.context import REPLIES
from flows.legs import RECORDED
from flows.opened import BUILD_FILE, context_of
from schemas import Reason
from schemas.dataset import DATASET_FILE
from tasks.dataset.check import verify as verify_dataset
from tasks.errors import UserError
from tasks.store.check import verify_store
from tasks.store.folder import TEMPORARY, Folder
from tasks.store.lock import build_lock
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
    with build_lock(out):
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
    problems = [str(p) for p in verify_store(folder.below("work"))]
    for name in folder.names("dataset"):
        problems += [f"dataset/{name}: {p}" for p in verify_dataset(folder.below(f"dataset/{name}"))]
    return problems


def collect_garbage(out: str, dry_run: bool) -> list[str]:
    """Remove stage folders of other fingerprints, parts set aside as torn, and temporary files. Datasets stay."""

    context = context_of(out)
    gone = []
    with build_lock(out):
        known = {*RECORDED, REPLIES, "prefect"}
        gone += [n for n in context.folder.names() if n not in known and context.folder.is_folder(n)]
        for stage in RECORDED:
            now = context.fingerprints[stage]
            gone += [f"{stage}/{name}" for name in context.folder.names(stage) if name != now]
            gone += _leftovers(context.folder, f"{stage}/{now}")
        gone += _temporary(context.folder, REPLIES)
        if not dry_run:
            for name in gone:
                context.folder.remove(name)
    return [f"work/{name}" for name in gone]


def _leftovers(work: Folder, folder: str) -> list[str]:

    found = [f"{folder}/{n}" for n in work.names(folder) if n.startswith((TEMPORARY, TORN))]
    return found + _temporary(work, f"{folder}/clips")


def _temporary(work: Folder, folder: str) -> list[str]:
    """Temporary files of a killed run below a folder, however deep."""
    work.fs.invalidate_cache()
    found = (str(path).removeprefix(f"{work.root}/") for path in work.fs.find(work.path(folder)))
    return sorted(name for name in found if name.rpartition("/")[2].startswith(TEMPORARY))
