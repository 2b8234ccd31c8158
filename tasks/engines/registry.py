"""Which engine a profile's name stands for. A new backend is one new file and one line here.

Engines are loaded once per process and shared by its threads. One that cannot load is an error, never a fallback.
"""

import importlib
import json
import threading
from typing import Any

from pydantic import Field, JsonValue

from schemas.settings import Settings
from tasks.errors import UserError

ENGINES: dict[str, dict[str, str]] = {
    "language": {"embedded": "tasks.engines.embedded.language:EmbeddedLanguage"},
    "captioner": {},
    "verifier": {"embedded": "tasks.engines.embedded.verifier:EmbeddedVerifier"},
    "detector": {"embedded": "tasks.engines.embedded.detector:EmbeddedDetector"},
    "tracker": {"embedded": "tasks.engines.embedded.tracker:EmbeddedTracker"},
}
"""kind → name → 'module:class'. The class is called with the spec's options as keywords."""


class EngineSpec(Settings):
    """Which engine stands behind a stage."""

    name: str = Field(default="embedded", description="one of the names in tasks/engines/registry.py")
    options: dict[str, JsonValue] = Field(default={}, description="keywords for the engine; never secrets")


_loaded: dict[tuple[str, str, str], Any] = {}
_lock = threading.Lock()


def load_engine(kind: str, spec: EngineSpec) -> Any:
    """The engine of `kind` for `spec`, loaded on first use. UserError when the name or an option is unknown."""
    known = ENGINES[kind]
    if spec.name not in known:
        offers = ", ".join(sorted(known)) or "none yet"
        raise UserError(f"engines.{kind}.name: no {kind} engine is called {spec.name!r}; there is: {offers}")
    key = (kind, spec.name, json.dumps(spec.options, sort_keys=True))
    with _lock:
        if key not in _loaded:
            module, _, name = known[spec.name].partition(":")
            try:
                _loaded[key] = getattr(importlib.import_module(module), name)(**spec.options)
            except TypeError as error:
                raise UserError(f"engines.{kind}.options: {error}") from error
        return _loaded[key]
