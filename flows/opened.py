"""The builds that this process has open: a fresh one, saved for others to find, or the one saved under a folder."""

import json
import re
import threading
from contextlib import suppress
from typing import Any

from flows.context import Context
from flows.settings import BuildSettings
from schemas import SCHEMA_VERSION
from schemas.settings import validate
from tasks.errors import UserError
from tasks.stages import STAGES
from tasks.store.folder import Folder

BUILD_FILE = "build.json"

_open: dict[str, Context] = {}
_open_lock = threading.Lock()


def open_build(settings: BuildSettings) -> Context:
    """A fresh context, saved as `work/build.json` so that workers and later commands find it by the folder."""
    context = Context(settings)
    saved = {
        "schema": SCHEMA_VERSION,
        "settings": settings.model_dump(mode="json"),
        "fingerprints": context.fingerprints,
    }
    try:
        with suppress(FileNotFoundError):
            _read_build(context.folder, settings.out)  # of another version: nothing of its rows could be read
        context.folder.write(BUILD_FILE, (json.dumps(saved, indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write to {context.out.root}: {error.strerror or error}; give another --out") from None
    with _open_lock:
        _open[settings.out] = context
    return context


def context_of(out: str) -> Context:
    """The build saved under `out`; one per process. UserError where there has been no build."""
    with _open_lock:
        if out not in _open:
            try:
                saved = _read_build(Folder(out).below("work"), out)
                # A folder may have been moved, or named by another path: what the file says of `out` is history.
                settings = validate(BuildSettings, {**saved["settings"], "out": out})
                prints = {s.name: str(saved["fingerprints"][s.name]) for s in STAGES if s.version is not None}
                if not all(re.fullmatch("[0-9a-f]{12}", value) for value in prints.values()):
                    raise ValueError("not fingerprints")
            except FileNotFoundError:
                raise UserError(f"no build in {out}: run `matrix_data build SOURCE --out {out}` first") from None
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{out}/work/{BUILD_FILE} is damaged: run the build command again") from None
            _open[out] = Context(settings, prints)
        return _open[out]


def _read_build(work: Folder, out: str) -> dict[str, Any]:
    """What is saved of a build; empty where it cannot be read. UserError where another version of ours made it."""
    try:
        saved = json.loads(work.read(BUILD_FILE))
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
