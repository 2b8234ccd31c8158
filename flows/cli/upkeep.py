"""Looking after a folder between builds: take rejects off the record, check what is there, remove what is old."""

from flows.context import BUILD_FILE, REPLIES, STAGES, plan_of
from schemas import Reason
from schemas.dataset import DATASET_FILE
from tasks.dataset.check import verify
from tasks.errors import UserError
from tasks.store.check import verify_store
from tasks.store.folder import TEMPORARY, Folder
from tasks.store.lock import build_lock
from tasks.store.parts import TORN


def forget_rejected(out: str, reason: str, stage: str | None) -> dict[str, int]:
    """Make clips that were rejected for `reason` pending again; returns how many at which stage."""
    if reason not in list(Reason):
        raise UserError(f"no reason code {reason!r}; there are: {', '.join(Reason)}")
    if stage is not None and stage not in STAGES:
        raise UserError(f"no stage {stage!r}; there are: {', '.join(STAGES)}")
    plan = plan_of(out)
    gone = {}
    with build_lock(out):
        for name in STAGES if stage is None else (stage,):
            store = plan.store(name)
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
        return [str(p) for p in verify(folder)]
    if not folder.exists(f"work/{BUILD_FILE}"):
        raise UserError(f"{path} holds neither {DATASET_FILE} nor a build: give a dataset or the --out of a build")
    problems = [str(p) for p in verify_store(folder.below("work"))]
    for name in folder.names("dataset"):
        problems += [f"dataset/{name}: {p}" for p in verify(folder.below(f"dataset/{name}"))]
    return problems


def collect_garbage(out: str, dry_run: bool) -> list[str]:
    """Remove stage folders of other fingerprints, parts set aside as torn, and temporary files. Datasets stay."""
    plan = plan_of(out)
    gone = []
    with build_lock(out):
        for stage in STAGES:
            for name in plan.work.names(stage):
                if name != plan.fingerprints[stage]:
                    gone.append(f"{stage}/{name}")
        for stage in STAGES:
            here = f"{stage}/{plan.fingerprints[stage]}"
            gone += _leftovers(plan.work, here)
        gone += _temporary(plan.work, REPLIES)
        if not dry_run:
            for name in gone:
                plan.work.remove(name)
    return [f"work/{name}" for name in gone]


def _leftovers(work: Folder, folder: str) -> list[str]:
    found = [f"{folder}/{n}" for n in work.names(folder) if n.startswith((TEMPORARY, TORN))]
    return found + _temporary(work, f"{folder}/clips")


def _temporary(work: Folder, folder: str) -> list[str]:
    """Temporary files of a killed run below a folder, however deep."""
    work.fs.invalidate_cache()
    found = (str(path).removeprefix(f"{work.root}/") for path in work.fs.find(work.path(folder)))
    return sorted(name for name in found if name.rpartition("/")[2].startswith(TEMPORARY))
