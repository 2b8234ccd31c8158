"""The judges of generated videos as a profile has them: its verifier answers for `vlm`, its tracker follows masks."""

import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matrix_train.errors import UserError
from matrix_train.evaluate import judge_tracks
from matrix_train.evaluate.generated import ByLooking, ByTracks, Judge, evaluate_prompts
from matrix_train.evaluate.judge_vlm import VlmJudge
from matrix_train.sample.trackers import Trackers
from schemas.settings import parse_mapping
from tasks.engines.registry import EngineSpec, declared_identity, load_engine
from tasks.engines.served.served import Served
from tasks.errors import UserError as EngineError
from tasks.store.folder import Folder


def evaluate_by(judge: str, videos: Path, prompts: Path, out: Path, profile: str | None) -> dict[str, Any]:
    """judge: "tracks" or "vlm". profile: a file, or the name of one that is shipped; without one every engine is the
    embedded one. UserError for a profile or engine that cannot be used, and as for `evaluate_prompts`."""
    path = None if profile is None else profile_file(profile)
    trackers = Trackers(path)
    if judge == "tracks":
        name = f"{judge_tracks.JUDGE} {_identity('tracker', path)}"
        more: dict[str, Any] = {"agreement": agreement()}
        return evaluate_prompts(videos, prompts, out, ByTracks(name), trackers, more)
    model = _verifier(path, out)
    try:
        vlm = VlmJudge(model)
        looking: Judge = ByLooking(vlm, vlm.name)  # asks the server who it is
        return evaluate_prompts(videos, prompts, out, looking, trackers, {})
    except EngineError as error:
        raise UserError(str(error)) from None
    finally:
        if isinstance(model, Served):
            model.close()


def agreement() -> dict[str, Any]:
    """How far the judge by tracks agrees with the truth, as `benchmarks/judge_agreement.py` last measured it."""
    found: dict[str, Any] = json.loads((files("matrix_train.evaluate") / "agreement.json").read_text(encoding="utf-8"))
    lines = [f"this judge against the truth, on rendered videos with true tracks ({found['date']}):"]
    for name, one in found["questions"].items():
        no, false = one["false_asked"] - one["yes_to_false"], one["false_asked"]
        lines.append(
            f"  {name:3} yes to {one['yes_to_true']} of {one['true_asked']} that are so, no to {no} of {false}"
        )
    return found | {"lines": lines}


def profile_file(name: str) -> Path:
    """UserError where `name` is no file, nor a profile of the data pipeline."""
    if (path := Path(name)).is_file():
        return path
    pipeline = find_spec("flows")  # finds it without importing it: a trainer's command needs none of its packages
    places = [Path(place) / "profiles" for place in (pipeline.submodule_search_locations or ())] if pipeline else []
    known = {file.stem: file for place in places for file in sorted(place.glob("*.yaml"))}
    if name not in known:
        raise UserError(f"--profile {name}: no such file, and no profile of that name: {', '.join(known)}")
    return known[name]


def _spec(kind: str, profile: Path | None) -> EngineSpec:
    try:
        text = "" if profile is None else profile.read_text(encoding="utf-8")
        engines = (parse_mapping(text, f"--profile {profile}") if text.strip() else {}).get("engines") or {}
        return EngineSpec.model_validate(engines.get(kind) or {})
    except (OSError, AttributeError, ValueError, EngineError) as error:
        raise UserError(f"--profile {profile}: engines.{kind} cannot be read: {error}") from None


def _identity(kind: str, profile: Path | None) -> str:
    try:
        return declared_identity(kind, _spec(kind, profile))
    except EngineError as error:
        raise UserError(str(error)) from None


def _verifier(profile: Path | None, out: Path) -> Any:
    """The engine that answers; its replies are kept below `out`."""
    try:
        model = load_engine("verifier", _spec("verifier", profile), Folder(str(out / "replies")))
    except EngineError as error:
        raise UserError(str(error)) from None
    if not hasattr(model, "ask"):
        raise UserError("--judge vlm: the profile's verifier answers no questions: name a served one, as gpu does")
    return model
