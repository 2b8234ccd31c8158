"""Which engine a profile's name stands for. A new backend is one new file and one line here.

Engines are made once per process and shared by its threads. Making one is cheap and checks all that can be checked
without loading weights; the weights come with the first clip, or with `check`. One that cannot be is an error, never a
fallback.
"""

import importlib
import json
import threading
from typing import Any

from pydantic import Field, JsonValue

from schemas.settings import Settings, validate
from tasks.errors import UserError
from tasks.store.folder import Folder

ENGINES: dict[str, dict[str, str]] = {
    "language": {
        "embedded": "tasks.engines.embedded.language:EmbeddedLanguage",
        "openai": "tasks.engines.served.language:ServedLanguage",
    },
    "captioner": {"openai": "tasks.engines.served.captioner:ServedCaptioner"},
    "verifier": {
        "embedded": "tasks.engines.embedded.verifier:EmbeddedVerifier",
        "openai": "tasks.engines.served.verifier:ServedVerifier",
    },
    "detector": {
        "embedded": "tasks.engines.embedded.detector:EmbeddedDetector",
        "grounding_dino": "tasks.engines.grounding_dino.engine:GroundingDino",
    },
    "tracker": {
        "embedded": "tasks.engines.embedded.tracker:EmbeddedTracker",
        "sam2": "tasks.engines.sam2.engine:Sam2Tracker",
    },
}
"""kind → name → 'module:class'.

A class with `Options`, a `Settings` model, is called with the spec's options as that model and with the folder in which
engines of this build may keep things (the reply cache); one without takes no options and is called with nothing.
"""


class EngineSpec(Settings):
    """Which engine stands behind a stage."""

    name: str = Field(default="embedded", description="one of the names in tasks/engines/registry.py")
    options: dict[str, JsonValue] = Field(default={}, description="settings of the engine; never secrets")


_loaded: dict[tuple[str, str, str, str], Any] = {}
_lock = threading.Lock()


def load_engine(kind: str, spec: EngineSpec, home: Folder) -> Any:
    """The engine of `kind` for `spec`, made on first use. UserError when the name, an option or what it names is wrong.

    home: where engines of this build may keep things between runs.
    """
    known = ENGINES[kind]
    if spec.name not in known:
        raise UserError(
            f"engines.{kind}.name: no {kind} engine is called {spec.name!r}; there is: {', '.join(sorted(known))}"
        )
    key = (kind, spec.name, json.dumps(spec.options, sort_keys=True), home.root)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _make(kind, spec, known[spec.name], home)
        return _loaded[key]


def _make(kind: str, spec: EngineSpec, target: str, home: Folder) -> Any:
    module, _, name = target.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"engines.{kind}.name: {spec.name!r} needs the package {error.name!r}: "
            "install with the extra `models` (see docs/engines/README.md)"
        ) from error
    model = getattr(factory, "Options", None)
    if model is None:
        if spec.options:
            raise UserError(f"engines.{kind}.options: the engine {spec.name!r} takes none")
        return factory()
    try:
        options = validate(model, dict(spec.options))
    except ValueError as error:
        raise UserError(f"engines.{kind}.options: {str(error).removeprefix('settings: ')}") from None
    return factory(options, home)


def declared_identity(kind: str, spec: EngineSpec) -> str:
    return f"{spec.name} {json.dumps(spec.options, sort_keys=True)}"
