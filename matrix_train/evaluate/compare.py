"""Runs over the same prompts side by side: each one's means, and every later one minus the first, paired by prompt."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter, ValidationError, model_validator

from matrix_train.errors import UserError
from matrix_train.evaluate.judge.agreement import LOOKS
from matrix_train.evaluate.page import compared_part, write_compared
from matrix_train.evaluate.protocol.scores import SCORES
from matrix_train.evaluate.run import SCORES_FILE, mean_of
from matrix_train.files import write_json

COMPARED_FILE = "compared.json"

_SHOWN = ("videos", "failed", "undecided", "means", "corrected", "measures", "vbench")
"""What of a run's result stands in the comparison."""


class _Mean(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    mean: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class _Table(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    lines: list[str]


class _Scores(BaseModel):
    """What is read of a `scores.json`; the rest is taken as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    judge: str
    videos: int
    failed: dict[str, str]
    undecided: int
    means: dict[str, _Mean]
    corrected: dict[str, _Mean]
    measures: dict[str, _Mean]
    vbench: dict[str, _Mean]
    bias: dict[str, Any]
    agreement: dict[str, _Table] = {}
    prompts: dict[str, str]
    by_video: dict[str, dict[str, FiniteFloat]]

    @model_validator(mode="after")
    def _whole(self) -> "_Scores":
        rows = [set(self.means), *(set(self.by_video.get(video, {})) for video in self.prompts)]
        if any(not row.issuperset(SCORES) for row in rows):
            raise ValueError("a score is missing")
        TypeAdapter(list[str]).validate_python(self.bias.get("warnings", []))
        return self


def compare(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Every later run minus the first, over the videos that both have (`_pairs`). Two runs' results are held at a time.

    UserError for a run that is given twice, for runs of different judges, and where two have nothing in common.
    """
    places = [run.resolve() for run in runs]
    if double := next((run for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None):
        raise UserError(f"--compare: {double} is given twice")
    base = _read(runs[0])
    models, differences, parts = [_row(runs[0], base)], [], []
    agreement, tested = dict(base["agreement"]), [base["bias"]]
    for run in runs[1:]:
        own = _read(run)
        if own["judge"] != base["judge"]:
            judges = "; ".join(sorted((base["judge"], own["judge"])))
            raise UserError(f"--compare: the judges differ ({judges}): scores of two are not comparable")
        pairs = _pairs(base["prompts"], own["prompts"])
        lost, left = base["prompts"].keys() - pairs.keys(), own["prompts"].keys() - set(pairs.values())
        same = {_video_id(video) for video in lost} & {_video_id(video) for video in left}
        if not pairs:
            why = f"the {len(same)} of one name have other prompts" if same else "no video is of one name or prompt"
            raise UserError(f"--compare: {runs[0]} and {run} cannot be paired: {why}")
        before = {video: base["by_video"][video] for video in pairs}
        after = {video: own["by_video"][name] for video, name in pairs.items()}
        difference = {
            "run": str(run), "minus": str(runs[0]), "paired": len(pairs), "other_prompt": len(same),
            "renamed": sum(video != name for video, name in pairs.items()),
            "unpaired": len(lost) + len(left) - 2 * len(same),
        } | {n: mean_of([after[v][n] - before[v][n] for v in pairs]) for n in SCORES}  # fmt: skip
        models.append(_row(run, own))
        agreement |= own["agreement"]  # one may be of tracks that were given, another of made ones
        tested.append(own["bias"])
        differences.append(difference)
        parts.append(compared_part(out, difference, before, after, pairs))
    if any(tested):
        agreement.pop(LOOKS, None)  # what one of them tells of the judge is so in all
    result = {"judge": base["judge"], "models": models, "differences": differences, "agreement": agreement}
    write_json(out / COMPARED_FILE, result)
    write_compared(out, result, parts)
    return result


def _pairs(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """By video of the one run, that of the other which was asked the same (prompts: by video, their digests): of the
    same name; else of the same name but for its ending; else of any name, where neither run has the prompt twice."""
    pairs: dict[str, str] = {}
    for known_by in (str, _video_id, lambda _: ""):
        first, second = (_alone(known_by, prompts) for prompts in (before, after))
        found = {first[key]: second[key] for key in first.keys() & second.keys()}
        taken = set(pairs.values())
        pairs |= {video: name for video, name in found.items() if video not in pairs and name not in taken}
    return dict(sorted(pairs.items()))


def _alone(known_by: Callable[[str], str], prompts: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """The videos that are alone in being known by this and asked that."""
    keys = {video: (known_by(video), asked) for video, asked in prompts.items()}
    counts = Counter(keys.values())
    return {key: video for video, key in keys.items() if counts[key] == 1}


def _video_id(video: str) -> str:
    return video.rsplit(".", 1)[0]


def _row(run: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The line of a run, with the number of its failed videos: their reasons are in its own results."""
    return {"run": str(run), "name": run.name, "warnings": found["bias"].get("warnings", [])} | {
        key: len(found[key]) if key == "failed" else found[key] for key in _SHOWN
    }


def _read(run: Path) -> dict[str, Any]:
    try:
        found = _Scores.model_validate_json((run / SCORES_FILE).read_bytes()).model_dump()
    except FileNotFoundError:
        raise UserError(f"{run} has no {SCORES_FILE}: give folders that `matrix_train evaluate` has finished") from None
    except ValidationError as error:
        former = any(one["type"] == "missing" or one["loc"][:2] == ("agreement", "lines") for one in error.errors())
        what = "of another version" if former else "damaged"
        raise UserError(f"{run / SCORES_FILE} is {what}: evaluate again, what was judged is kept") from None
    return found
