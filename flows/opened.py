"""Builds on record: each one's settings under a name of their own, and the last one for whoever looks at the folder.

A process that works for a build is told its name, so it can never take another's settings for it; what stands under a
name does not change.
"""

import hashlib
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flows.chunk import Chunk
from flows.context import Context
from flows.legs import RECORDED
from flows.server.grants import grant_credentials
from flows.settings import BuildSettings
from schemas import SCHEMA_VERSION
from schemas.dataset import DATASET_FILE
from schemas.settings import validate
from tasks.errors import UserError
from tasks.stages import STAGES
from tasks.store.folder import Folder
from tasks.store.lease import adopt
from tasks.store.parts import FAIL, PART

BUILD_FILE = "build.json"
"""The last build. Beside it, in BUILDS, each by its name."""

BUILDS = "builds"

log = logging.getLogger(__name__)

_builds: dict[tuple[str, str], Context] = {}
"""By out and name."""
_chunks: dict[tuple[str, str, str], Chunk] = {}
"""Chunks under work in this process, by out, name of the build and place of the chunk's first stage."""
_lock = threading.Lock()


def name_of(settings: BuildSettings) -> str:
    """12 hex digits over all settings; the same on a worker, which gets them from Prefect with their keys sorted."""
    return hashlib.sha256(json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:12]


def check_out(settings: BuildSettings) -> None:
    """UserError where `out` can hold no build of this version. Nothing is written, and a web server is not asked."""
    out = settings.out
    if out.startswith(("http://", "https://")):
        raise UserError(f"nothing can be written to {out}: give --out a folder or a bucket (s3://, gs://, az://)")
    grant_credentials(settings)
    work = Folder(out).below("work")
    try:
        with suppress(FileNotFoundError):
            if _read_build(work, out, BUILD_FILE):
                return
        _refuse_former_layout(work, out)
    except OSError as error:
        raise _cannot_write(out, error) from None


def _refuse_former_layout(work: Folder, out: str) -> None:
    """For a folder that no account of a build says the version of: rows in no chunk would be passed over."""
    for stage in set(RECORDED).intersection(work.names()):
        for name in work.names(stage):
            place = f"{stage}/{name}"
            if re.fullmatch("[0-9a-f]{12}", name) and any(n.startswith((PART, FAIL)) for n in work.names(place)):
                raise UserError(
                    f"{out} was built by another version of matrix_data (work/{place} has no chunks): use that "
                    "version, or give another --out"
                )


def _cannot_write(out: str, error: OSError) -> UserError:
    return UserError(f"cannot write to {out}: {error.strerror or error}; give another --out")


def open_build(settings: BuildSettings) -> Context:
    """A fresh context, saved so that workers and later commands find it by the folder."""
    check_out(settings)
    context = Context(settings)
    saved = {
        "schema": SCHEMA_VERSION,
        "settings": settings.model_dump(mode="json"),
        "fingerprints": context.fingerprints,
    }
    data = (json.dumps(saved, indent=2) + "\n").encode()
    try:
        for name in (f"{BUILDS}/{name_of(settings)}.json", BUILD_FILE):
            if not context.folder.exists(name) or context.folder.read(name) != data:
                context.folder.write(name, data)
    except OSError as error:
        raise _cannot_write(context.out.uri, error) from None
    return context


def join_build(settings: BuildSettings) -> Context:
    """The build that another process has opened with these settings, for a worker that is to do some of it.

    UserError where it does not stand in the store as it is seen from here, or this is another version of matrix_data.
    """
    name = name_of(settings)
    if not Folder(settings.out).below("work").exists(f"{BUILDS}/{name}.json"):
        raise UserError(
            f"{settings.out} does not hold this build as {socket.gethostname()} sees it: --out has to be a folder or "
            "bucket that all workers reach by the same name"
        )
    grant_credentials(settings)
    context = context_of(settings.out, name)
    if Context(settings).fingerprints != context.fingerprints:
        raise UserError(
            f"the worker at {socket.gethostname()} has another version of matrix_data than the build in "
            f"{settings.out}: bring both to the same one"
        )
    return context


def context_of(out: str, name: str = "") -> Context:
    """A build saved under `out`, by its name; the last one without. UserError where there has been no build."""
    with _lock:
        if known := _builds.get((out, name)):
            return known
    file = f"{BUILDS}/{name}.json" if name else BUILD_FILE
    work = Folder(out).below("work")
    try:
        saved = _read_build(work, out, file)
        # A folder may have been moved, or named by another path: what the file says of `out` is history.
        settings = validate(BuildSettings, {**saved["settings"], "out": out})
        prints = {s.name: str(saved["fingerprints"][s.name]) for s in STAGES if s.version is not None}
        if not all(re.fullmatch("[0-9a-f]{12}", value) for value in prints.values()):
            raise ValueError("not fingerprints")
    except FileNotFoundError:
        _refuse_former_layout(work, out)
        raise UserError(f"no build in {out}: run `matrix_data build SOURCE --out {out}` first") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{out}/work/{file} is damaged: run the build command again") from None
    context = Context(settings, prints)
    if name:  # the last build is another tomorrow
        with _lock:
            _builds[out, name] = context
    return context


def dataset_of(path: str) -> Folder:
    """The dataset folder itself, or the one of the last build in an out folder.

    UserError where that build has none and earlier ones have: which of them is meant is for people to say.
    """
    folder = Folder(path)
    if folder.exists(DATASET_FILE) or not folder.exists(f"work/{BUILD_FILE}"):
        return folder
    dataset = context_of(path).dataset
    if not dataset.exists(DATASET_FILE):
        earlier = [n for n in folder.names("dataset") if folder.exists(f"dataset/{n}/{DATASET_FILE}")]
        if earlier:
            named = ", ".join(folder.shown(f"dataset/{name}") for name in earlier)
            raise UserError(f"the last build in {path} has no dataset yet; name one of earlier settings: {named}")
    return dataset


@contextmanager
def under_work(chunk: Chunk, place: str) -> Iterator[None]:
    """Tasks of this process find the chunk, with all that it has read."""
    key = (chunk.context.settings.out, name_of(chunk.context.settings), place)
    _chunks[key] = chunk
    try:
        yield
    finally:
        del _chunks[key]


@contextmanager
def chunk_at(out: str, build: str, chunk: str, place: str, token: str, epoch: int) -> Iterator[Chunk]:
    """The chunk of a task: the one under work in this process, else opened here under the lease that was sent along."""
    if known := _chunks.get((out, build, place)):
        yield known
        return
    opened = Chunk(context_of(out, build), chunk)
    grant_credentials(opened.context.settings)
    with adopt(opened.context.folder, place, token, epoch):
        try:
            yield opened
        finally:
            for line in opened.close_replies(gather=False):
                log.warning(line)


def _read_build(work: Folder, out: str, name: str) -> dict[str, Any]:
    """What is saved of a build; empty where it cannot be read. UserError where another version of ours made it."""
    try:
        saved = json.loads(work.read(name))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(saved, dict):
        return {}
    if saved.get("schema") != SCHEMA_VERSION:
        raise UserError(
            f"{out} was built by another version of matrix_data (records of version {saved.get('schema', 1)}, this one "
            f"has {SCHEMA_VERSION}): use that version, or give another --out"
        )
    return saved
