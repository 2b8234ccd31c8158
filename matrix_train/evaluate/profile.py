"""The judges of generated videos as a profile has them: its verifier answers for `vlm`, its tracker follows masks."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matrix_train.errors import UserError
from matrix_train.evaluate.checked.planted import measure_bias
from matrix_train.evaluate.exchange.authors import check_place
from matrix_train.evaluate.generated import ByLooking, ByTracks, Judging
from matrix_train.evaluate.judge import by_tracks
from matrix_train.evaluate.judge.agreement import LOOKS, agreement
from matrix_train.evaluate.judge.by_vlm import VlmJudge
from matrix_train.evaluate.models import evaluate_folder, models_of
from matrix_train.evaluate.protocol.prompt import read_prompts
from matrix_train.sample.trackers import Trackers
from schemas.settings import parse_mapping
from schemas.text import one_line
from tasks.engines.registry import EngineSpec, declared_identity, load_engine
from tasks.engines.served.served import Served
from tasks.errors import StopRun
from tasks.errors import UserError as EngineError
from tasks.store.folder import Folder

UNTESTED = (
    "this judge against the truth: not put to the test, so how often it says yes to what is false is not known: "
    "measure it by --bias W, on a rendered world W"
)
"""What stands with every result of a model whose bias was not asked for."""


@dataclass(frozen=True)
class Asked:
    """What is to be judged, by whom, and with what beside it."""

    judge: str
    """tracks or vlm."""
    prompts: Path
    profile: str | None = None
    """A file, or the name of one that is shipped; without one every engine is the embedded one."""
    bias: Path | None = None
    """The rendered world on which the bias of `vlm` is measured."""
    vbench: Path | None = None
    """Results of VBench."""


def evaluate_by(asked: Asked, videos: Path, out: Path) -> dict[str, Any]:
    """UserError for a profile or engine that cannot be used, and as for `evaluate_folder` and `measure_bias`; OSError
    for an `out` that cannot be written."""
    path = None if asked.profile is None else profile_file(asked.profile)
    if videos.resolve() in out.resolve().parents and models_of(videos):
        raise UserError(f"--out {out} would be one of the models in {videos}: give a place outside of it")
    check_place(out)
    out.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before a model is asked
    trackers, tracker = Trackers(path), tracker_of(path)
    if asked.judge == "tracks":
        more = {"agreement": agreement(read_prompts(asked.prompts), tracker)}
        judging = Judging(ByTracks(f"{by_tracks.JUDGE} {tracker}"), trackers, more=more)
        return evaluate_folder(videos, asked.prompts, out, judging, asked.vbench)
    model = _verifier(path, out)
    try:
        vlm = VlmJudge(model)  # asks the server who it is
        bias, table = measure_bias(asked.bias, out, vlm) if asked.bias else (None, {})
        looking = ByLooking(vlm, f"{vlm.name} boxes {tracker}")
        more = {"bias": table} if asked.bias else {"agreement": {LOOKS: {"lines": [UNTESTED]}}}
        judging = Judging(looking, trackers, bias, more)
        return evaluate_folder(videos, asked.prompts, out, judging, asked.vbench)
    except (EngineError, StopRun) as error:
        raise UserError(one_line(error, 600)) from None
    finally:
        if isinstance(model, Served):
            model.close()


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
        raise UserError(f"--profile {profile}: engines.{kind} cannot be read: {one_line(error, 600)}") from None


def tracker_of(profile: Path | None) -> str:
    """What stands for a profile's tracker in a judge's name. UserError where the profile cannot be used."""
    try:
        return declared_identity("tracker", _spec("tracker", profile))
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
