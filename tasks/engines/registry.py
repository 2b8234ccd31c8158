"""Which engine a profile's name stands for. A new backend is one new folder or file and one line here.

Engines are made once per process and shared by its threads. Making one is cheap and checks all that can be checked
without loading weights; the weights come with the first clip, or with `check`. One that cannot be is an error, never a
fallback. What an engine's settings say of its answers (`declared_identity`) needs no engine at all.
"""

import importlib
import json
import threading
from dataclasses import dataclass
from typing import Any

from pydantic import Field, JsonValue

from schemas.settings import Settings, validate
from tasks.engines.options import EngineOptions
from tasks.errors import UserError
from tasks.store.folder import Folder


@dataclass(frozen=True)
class EngineEntry:
    """Where an engine is, as 'module:class' each."""

    options: str
    """Its `EngineOptions`, in a module that can be imported without the packages of the extra `models`."""
    engine: str
    """The class, called with the options and with the folder in which engines of a build may keep things."""


ENGINES: dict[str, dict[str, EngineEntry]] = {
    "language": {
        "embedded": EngineEntry(
            "tasks.engines.embedded.options:LanguageOptions", "tasks.engines.embedded.language:EmbeddedLanguage"
        ),
        "openai": EngineEntry(
            "tasks.engines.served.options:LanguageOptions", "tasks.engines.served.language:ServedLanguage"
        ),
        "transformers": EngineEntry(
            "tasks.engines.in_process.options:LanguageOptions", "tasks.engines.in_process.engine:InProcessLanguage"
        ),
    },
    "captioner": {
        "openai": EngineEntry(
            "tasks.engines.served.options:CaptionerOptions", "tasks.engines.served.captioner:ServedCaptioner"
        ),
        "transformers": EngineEntry(
            "tasks.engines.in_process.options:CaptionerOptions", "tasks.engines.in_process.engine:InProcessCaptioner"
        ),
    },
    "verifier": {
        "embedded": EngineEntry(
            "tasks.engines.embedded.options:VerifierOptions", "tasks.engines.embedded.verifier:EmbeddedVerifier"
        ),
        "openai": EngineEntry(
            "tasks.engines.served.options:VerifierOptions", "tasks.engines.served.verifier:ServedVerifier"
        ),
        "transformers": EngineEntry(
            "tasks.engines.in_process.options:VerifierOptions", "tasks.engines.in_process.engine:InProcessVerifier"
        ),
    },
    "detector": {
        "embedded": EngineEntry(
            "tasks.engines.embedded.options:DetectorOptions", "tasks.engines.embedded.detector:EmbeddedDetector"
        ),
        "grounding_dino": EngineEntry(
            "tasks.engines.grounding_dino.options:DinoOptions", "tasks.engines.grounding_dino.engine:GroundingDino"
        ),
    },
    "tracker": {
        "embedded": EngineEntry(
            "tasks.engines.embedded.options:TrackerOptions", "tasks.engines.embedded.tracker:EmbeddedTracker"
        ),
        "sam2": EngineEntry("tasks.engines.sam2.options:Sam2Options", "tasks.engines.sam2.engine:Sam2Tracker"),
    },
}
"""kind → name → where it is."""


class EngineSpec(Settings):
    """Which engine stands behind a stage."""

    name: str = Field(default="embedded", description="one of the names in tasks/engines/registry.py")
    options: dict[str, JsonValue] = Field(default={}, description="settings of the engine; never secrets")


_loaded: dict[tuple[str, str, str, str], Any] = {}
_lock = threading.Lock()


def declared_identity(kind: str, spec: EngineSpec) -> str:
    """What the settings of an engine say of its answers, for the fingerprint of the stage that asks it.

    Needs no weights, no server and none of the packages that the engine itself needs. UserError as for `load_engine`
    where the name or an option is wrong.
    """
    return options_of(kind, spec).declared()


def load_engine(kind: str, spec: EngineSpec, home: Folder) -> Any:
    """The engine of `kind` for `spec`, made on first use. UserError when the name, an option or what it names is wrong.

    home: where engines of this build may keep things between runs.
    """
    options = options_of(kind, spec)
    key = (kind, spec.name, json.dumps(spec.options, sort_keys=True), home.root)
    with _lock:
        if key not in _loaded:
            try:
                made = _named(ENGINES[kind][spec.name].engine)
            except ModuleNotFoundError as error:
                raise UserError(
                    f"engines.{kind}.name: {spec.name!r} needs the package {error.name!r}: "
                    "install with the extra `models` (see docs/engines/README.md)"
                ) from error
            _loaded[key] = made(options, home)
        return _loaded[key]


def options_of(kind: str, spec: EngineSpec) -> EngineOptions:
    """The engine's settings, checked. UserError where the name or an option is wrong."""
    known = ENGINES[kind]
    if spec.name not in known:
        raise UserError(
            f"engines.{kind}.name: no {kind} engine is called {spec.name!r}; there is: {', '.join(sorted(known))}"
        )
    model: type[EngineOptions] = _named(known[spec.name].options)
    try:
        return validate(model, dict(spec.options))
    except ValueError as error:
        raise UserError(f"engines.{kind}.options: {str(error).removeprefix('settings: ')}") from None


def _named(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
