"""Runs over the same prompts side by side: each one's means, and every later one minus the first, paired by prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.page import compared_part, write_compared
from matrix_train.evaluate.run import SCORES_FILE, mean_of
from matrix_train.evaluate.scores import SCORES
from matrix_train.files import write_json

COMPARED_FILE = "compared.json"

_Scores = TypeAdapter(dict[str, Any])
_SHOWN = ("videos", "failed", "undecided", "means", "corrected", "measures", "vbench")
"""What of a run's result stands in the comparison."""


def compare(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Every later run minus the first, over the videos of the same name and prompt that both have. Two runs' results
    are held at a time.

    UserError for a run that is given twice, for runs of different judges, and where two have nothing in common.
    """
    places = [run.resolve() for run in runs]
    if double := next((run for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None):
        raise UserError(f"--compare: {double} is given twice")
    base = _read(runs[0])
    models, differences, parts = [_row(runs[0], base)], [], []
    agreement = dict(base.get("agreement", {}))
    for run in runs[1:]:
        own = _read(run)
        if own["judge"] != base["judge"]:
            judges = "; ".join(sorted((base["judge"], own["judge"])))
            raise UserError(f"--compare: the judges differ ({judges}): scores of two are not comparable")
        same = base["by_video"].keys() & own["by_video"].keys()
        shared = sorted(video for video in same if base["asked"][video] == own["asked"][video])
        if not shared:
            why = f"the {len(same)} of one name have other prompts" if same else "no video is of one name"
            raise UserError(f"--compare: {runs[0]} and {run} cannot be paired: {why}")
        before, after = ({video: one["by_video"][video] for video in shared} for one in (base, own))
        difference = {
            "run": str(run), "minus": str(runs[0]), "paired": len(shared), "other_prompt": len(same) - len(shared),
            "unpaired": len(base["by_video"].keys() ^ own["by_video"].keys()),
        } | {n: mean_of([after[v][n] - before[v][n] for v in shared]) for n in SCORES}  # fmt: skip
        models.append(_row(run, own))
        agreement |= own.get("agreement", {})  # one may be of tracks that were given, another of made ones
        differences.append(difference)
        parts.append(compared_part(out, difference, before, after))
    result = {"judge": base["judge"], "models": models, "differences": differences, "agreement": agreement}
    write_json(out / COMPARED_FILE, result)
    write_compared(out, result, parts)
    return result


def _row(run: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The line of a run, with the number of its failed videos: their reasons are in its own results."""
    return {"run": str(run), "name": run.name, "warnings": found["bias"].get("warnings", [])} | {
        key: len(found[key]) if key == "failed" else found[key] for key in _SHOWN
    }


def _read(run: Path) -> dict[str, Any]:
    try:
        found = _Scores.validate_json((run / SCORES_FILE).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{run} has no {SCORES_FILE}: give folders that `matrix_train evaluate` has finished") from None
    except ValidationError:
        raise UserError(f"{run / SCORES_FILE} is damaged: evaluate again, what was judged is kept") from None
    if not {"judge", "by_video", "asked", "bias", *_SHOWN} <= found.keys() or "lines" in found.get("agreement", {}):
        raise UserError(f"{run / SCORES_FILE} is of another version: evaluate again, what was judged is kept")
    return found
