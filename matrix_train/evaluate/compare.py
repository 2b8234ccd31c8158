"""`matrix_train evaluate --compare`: differences between runs over the same prompts, paired, with intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.page import write_compared
from matrix_train.evaluate.run import SCORES_FILE, mean_of
from matrix_train.evaluate.scores import SCORES
from matrix_train.files import write_json

COMPARED_FILE = "compared.json"

_Scores = TypeAdapter(dict[str, Any])


def compare(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Every later run minus the first, over the videos of the same name that both have.

    UserError for fewer than two runs, for runs of different judges or other questions about a video, and where two have
    no video in common.
    """
    if len(runs) < 2:
        raise UserError("--compare: give two folders of results or more")
    found = [_read(run) for run in runs]
    if len(judges := {str(one["judge"]) for one in found}) > 1:
        raise UserError(f"--compare: the judges differ ({'; '.join(sorted(judges))}): scores of two are not comparable")
    base, differences = found[0]["by_video"], []
    for run, one in zip(runs[1:], found[1:], strict=True):
        shared = sorted(base.keys() & one["by_video"].keys())
        if not shared:
            raise UserError(f"--compare: {runs[0]} and {run} have no video of one name: they must share their prompts")
        if odd := [video for video in shared if one["asked"][video] != found[0]["asked"][video]]:
            raise UserError(
                f"--compare: {run} asked something else of {odd[0]} than {runs[0]}: give both the same prompts"
            )
        gains = {n: mean_of([one["by_video"][v][n] - base[v][n] for v in shared]) for n in SCORES}
        unpaired = len(base.keys() ^ one["by_video"].keys())
        differences.append(
            {"run": str(run), "minus": str(runs[0]), "paired": len(shared), "unpaired": unpaired} | gains
        )
    result = {"judge": found[0]["judge"], "differences": differences}
    write_json(out / COMPARED_FILE, result)
    write_compared(out, differences, [{"base": base, "own": one["by_video"]} for one in found[1:]])
    return result


def _read(run: Path) -> dict[str, Any]:
    try:
        return _Scores.validate_json((run / SCORES_FILE).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{run} has no {SCORES_FILE}: give folders that `matrix_train evaluate` has finished") from None
    except ValidationError:
        raise UserError(f"{run / SCORES_FILE} is damaged: evaluate again, what was judged is kept") from None
