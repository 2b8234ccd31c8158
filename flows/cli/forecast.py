"""What a profile will cost on this machine: what is downloaded, the most memory, seconds a clip by a short trial."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.legs import SPECS
from flows.settings import BuildSettings
from schemas import Anchor, Box, Instance
from tasks.engines.asking import build_messages, make_nonce
from tasks.engines.base import BadReply, VerifyRequest
from tasks.engines.options import EngineOptions
from tasks.engines.prompts import load_prompts
from tasks.engines.registry import options_of
from tasks.engines.replies import CountReply
from tasks.errors import InfrastructureError, UserError

if TYPE_CHECKING:  # it imports torch
    from tasks.engines.plan import Need

QUESTIONS, VERDICTS, IDS = 6, 6, 3
"""Of a clip, as the world's have them: four turns and a rating of each triplet, candidates tried, things tracked."""

GB = 1e9


def options_by_kind(settings: BuildSettings) -> dict[str, EngineOptions]:
    """Options of the engines that the profile names."""
    specs = {kind: getattr(settings.engines, kind) for kind in type(settings.engines).model_fields}
    return {kind: options_of(kind, spec) for kind, spec in specs.items() if spec is not None}


def from_hub(settings: BuildSettings) -> list[tuple[str, str | None]]:
    """Name and revision of every model that comes from the hub, each once."""
    return list(dict.fromkeys(named for options in options_by_kind(settings).values() for named in options.from_hub()))


def downloads(settings: BuildSettings) -> str:
    """What a build would download, and how large it is by the hub's list of files.

    InfrastructureError where the hub is out of reach and something is not here; it is then as large as its sizes say.
    """
    if not (named := from_hub(settings)):
        return "nothing"
    from schemas.hub import out_of_reach
    from tasks.engines.hub import files_of, is_here, missing

    if out_of_reach():
        absent = [name for name, revision in named if not is_here(name, revision)]
        if absent:
            sizes = ", ".join(f"{name} ({_about(settings, name)})" for name in absent)
            raise InfrastructureError(
                f"the hub cannot be reached, and this machine's cache has no {sizes}: see to the "
                "network, or name folders in the profile"
            )
        return "the hub cannot be reached; its cache here has every model's configuration"
    told = []
    for name, revision in named:
        files = files_of(name, revision)
        left = missing(name, revision, files)
        size = f"{sum(left.values()) / GB:.2f} of {sum(files.values()) / GB:.2f} GB to download"
        told.append(f"{name}: {size if left else 'is here'}")
    return "; ".join(told)


def fetch_all(settings: BuildSettings) -> None:
    """Download what is not here yet, with progress bars on stderr. UserError where it is not to be had."""
    if named := from_hub(settings):
        from tasks.engines.hub import fetch

        for name, revision in named:
            fetch(name, revision)


def _about(settings: BuildSettings, name: str) -> str:
    """How large a model is by the sizes that are known of it."""
    try:
        return f"about {_by_sizes(settings, name) / GB:.1f} GB"
    except UserError:  # its own configuration would tell, and is not here
        return "of unknown size"


def _by_sizes(settings: BuildSettings, name: str) -> int:
    needs = (_need(settings, o) for o in options_by_kind(settings).values() if name in dict(o.from_hub()))
    return max((need.weights for need in needs if need), default=0)


def _need(settings: BuildSettings, options: EngineOptions) -> "Need | None":
    from tasks.engines.plan import need_of

    return need_of(options, settings.ingest.frames, settings.caption.captioner_frames)


def memory(settings: BuildSettings) -> tuple[float, str]:
    """Bytes at the peak, and how they come together, stage by stage; 0 where no model is planned."""
    from tasks.engines.plan import PROCESS

    options, stages = options_by_kind(settings), dict[str, dict[Any, tuple[int, int]]]()
    for stage, spec in SPECS.items():
        for kind in spec.engines:
            if kind in options and (need := _need(settings, options[kind])):
                # Engines of one model share its weights, and take turns.
                _, work = stages.setdefault(stage, {}).get(need.model, (0, 0))
                stages[stage][need.model] = (need.weights, max(work, need.work))
    if not stages:
        return 0.0, "no model in this process"
    sums = {stage: sum(weights + work for weights, work in models.values()) for stage, models in stages.items()}
    apart = settings.run.stage_by_stage
    together = sum(max(m[model][0] + m[model][1] for m in stages.values() if model in m) for model in _models(stages))
    peak = PROCESS + (max(sums.values()) if apart else together)
    parts = ", ".join(f"{stage} {(PROCESS + size) / GB:.1f}" for stage, size in sums.items())
    how = "one stage at a time" if apart else "all stages at once (run.stage_by_stage: true would take the largest)"
    return peak, f"at most {peak / GB:.1f} GB by plan, {how}: {parts} GB"


def _models(stages: dict[str, dict[Any, tuple[int, int]]]) -> set[Any]:
    return {model for models in stages.values() for model in models}


def seconds_of(kind: str, engine: Any, settings: BuildSettings) -> float:
    """Seconds that a clip takes at an engine, from one question, or a few frames of noise."""
    height, width = settings.ingest.height, settings.ingest.width
    frames = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    box = Box(x0=width / 4, y0=height / 4, x1=width / 2, y1=height / 2)
    who = Instance(id="id1", cls="man", noun="man in a red shirt", app="He wears a red shirt.", spatial="Left.")
    request = VerifyRequest(frames[0], frames[0][: height // 2, : width // 2], box, "man", (who,))
    anchors = [Anchor(id=f"id{k + 1}", frame=0, box=box, score=1.0, confidence=1.0) for k in range(IDS)]
    question = build_messages(
        load_prompts(settings.caption.prompts).texts["count"],
        {"caption": "A man in a red shirt kicks a blue ball. A dog behind him watches the ball."},
        make_nonce("trial", "count", 0),
    )
    trials: dict[str, tuple[Callable[[], object], float]] = {
        "language": (lambda: asyncio.run(_one(engine.ask(question, CountReply))), QUESTIONS),
        "captioner": (lambda: asyncio.run(_one(engine.describe(frames))), settings.caption.captioner_frames / 3),
        "verifier": (lambda: asyncio.run(_one(engine.verify(request))), VERDICTS),
        "detector": (lambda: engine.propose(frames[:1], ["man", "ball"], 5), settings.propose.frames),
        "tracker": (lambda: engine.propagate(frames, anchors), settings.ingest.frames / len(frames)),
    }
    trial, times = trials[kind]
    began = time.perf_counter()
    trial()
    return (time.perf_counter() - began) * times


async def _one(asked: Any) -> None:
    try:
        await asked
    except BadReply:
        return  # it took its time all the same


def seconds(found: dict[str, float]) -> Iterator[str]:
    """In words, by engine. Captions are for videos that bring none."""
    for kind, took in found.items():
        yield f"{kind} {took:.0f}" + (" where a video brings no caption" if kind == "captioner" else "")
