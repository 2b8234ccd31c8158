"""`matrix_data doctor`: can this machine run this profile? Everything that a build would trip over, before it starts.

Each engine is made as a build would make it, its weights are loaded and it runs once, or its server is asked for its
models. Of models in this process it says first what is downloaded and how much memory they take, and last how long a
clip does. Nothing is written but into a temporary folder, and what is downloaded into the hub's cache.
"""

import platform
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import psutil
import typer

from flows.cli.base import NOTHING, Json, Profile, Sets, app, emit
from flows.cli.forecast import GB, downloads, memory, options_by_kind, seconds, seconds_of
from flows.settings import BuildSettings, load_settings
from schemas import Record
from schemas.text import one_line, visible
from tasks.engines.registry import load_engine
from tasks.errors import InfrastructureError, UserError
from tasks.store.folder import Folder

PACKAGES = (
    "prefect",
    "pyarrow",
    "av",
    "torch",
    "torchvision",
    "transformers",
    "openai",
    "llguidance",
    "groundingdino-py",
    "sam2",
)


class Finding(Record):
    """One thing looked at."""

    what: str
    ok: bool
    detail: str

    def line(self) -> str:
        """For people."""
        return f"{'ok ' if self.ok else 'BAD'}  {self.what:<10} {self.detail}"


@app.command()
def doctor(profile: Profile = "local", set_: Sets = [], as_json: Json = False) -> None:  # noqa: B006
    """Check that this machine can run a profile: packages, GPU, checkpoints, servers. Loads every model once."""
    settings = load_settings(profile, set_, source="none", out="none")
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            print(visible(finding.line()), flush=True)
    ok = all(f.ok for f in findings)
    emit({"ok": ok, "findings": [f.model_dump() for f in findings]}, as_json, [])
    if not ok:
        raise typer.Exit(NOTHING)


def examine(settings: BuildSettings) -> Iterator[Finding]:
    """Findings, each as soon as it is there: the machine, then every engine of the profile."""
    yield Finding(what="python", ok=True, detail=f"{platform.python_version()}; {', '.join(_packages())}")
    yield _finding("gpu", _gpus)
    if _in_this_process(settings):
        yield _finding("download", lambda: downloads(settings))
        yield _finding("memory", lambda: _memory(settings))
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        for kind in type(settings.engines).model_fields:
            yield _finding(kind, lambda kind=kind: _engine(settings, kind, Folder(home), took))  # type: ignore[misc]
    if took:
        whole = sum(seconds for kind, seconds in took.items() if kind != "captioner")
        detail = f"about {whole:.0f} s by a trial of each model, one question at a time: {', '.join(seconds(took))}"
        yield Finding(what="a clip", ok=True, detail=detail)


def _finding(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, ok=True, detail=one_line(look(), 1000))
    except (UserError, InfrastructureError) as error:
        return Finding(what=what, ok=False, detail=one_line(str(error), 1000))
    except Exception as error:  # whatever a model's own code raises, the next engine is still worth a look
        return Finding(what=what, ok=False, detail=one_line(f"{type(error).__name__}: {error}", 1000))


def _packages() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return found


def _gpus() -> str:
    """No GPU is no fault by itself: an engine that asks for one says so."""
    try:
        import torch
    except ModuleNotFoundError:
        return "torch is not installed"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names) or "none"


def _in_this_process(settings: BuildSettings) -> bool:
    """Whether a model is loaded here. A mistake in the options is the engine's to tell."""
    try:
        return any(options.loads for options in options_by_kind(settings).values())
    except UserError:
        return False


def _memory(settings: BuildSettings) -> str:
    """UserError where the machine has less than the plan asks for."""
    peak, told = memory(settings)
    there = psutil.virtual_memory().total
    if peak > there:
        raise UserError(f"{told}; this machine has {there / GB:.1f} GB: take smaller models (docs/engines/choose.md)")
    return told


def _engine(settings: BuildSettings, kind: str, home: Folder, took: dict[str, float]) -> str:
    """took: where the seconds of a clip at the engine go, if its model is in this process."""
    spec = getattr(settings.engines, kind)
    if spec is None:
        return "none set"
    engine = load_engine(kind, spec, home)
    told = engine.check() if hasattr(engine, "check") else "needs nothing"
    if hasattr(engine, "release"):
        took[kind] = seconds_of(kind, engine, settings)
        if settings.run.stage_by_stage:
            engine.release()
    return f"{engine.identity}: {told}"
