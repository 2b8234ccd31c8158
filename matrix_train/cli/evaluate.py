"""What `matrix_train evaluate` does. Imports neither torch nor diffusers: scores need none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from matrix_train.errors import UserError
from matrix_train.evaluate.compare import compare as compare_runs
from matrix_train.evaluate.run import evaluate_world
from matrix_train.evaluate.scores import SCORES


def evaluate_command(
    folders: Sequence[Path], out: Path, world: Path | None, judge: str, compare: bool, console: Console
) -> dict[str, Any]:
    """`evaluate`, and its form that compares."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder")
    if compare:
        result = compare_runs(folders, out)
        for difference in result["differences"]:
            paired, unpaired = difference["paired"], difference["unpaired"]
            console.print(
                f"{difference['run']} − {difference['minus']}: {paired} pairs, {unpaired} unpaired", soft_wrap=True
            )
            _show(difference, console)
        return result
    if judge != "truth":
        raise UserError(f"--judge {judge}: this version has the judge truth only, with --world")
    if world is None:
        raise UserError("--judge truth needs --world: the folder of a rendered world, with its truth")
    if len(folders) > 1:
        raise UserError("give one folder of videos; several are for --compare")
    result = evaluate_world(folders[0], world, out)
    console.print(f"{result['videos']} videos by {result['judge']}, {result['not_asked']} with nothing to ask")
    _show(result["means"], console)
    for video, reason in result["failed"].items():
        console.print(f"not judged: {video}: {reason}", highlight=False, soft_wrap=True, markup=False)
    return result


def _show(means: Mapping[str, Any], console: Console) -> None:
    for name in SCORES:
        row = means[name]
        console.print(
            f"  {name:9} {row['mean']:+.3f}  [{row['low']:+.3f}, {row['high']:+.3f}]", highlight=False, markup=False
        )
