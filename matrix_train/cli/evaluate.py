"""What `matrix_train evaluate` does. Imports neither torch nor diffusers: scores need none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from matrix_train.errors import UserError
from matrix_train.evaluate.compare import compare as compare_runs
from matrix_train.evaluate.run import evaluate_world
from matrix_train.evaluate.scores import SCORES


@dataclass(frozen=True)
class Request:
    """The options as given."""

    out: Path
    judge: str = "truth"
    world: Path | None = None
    prompts: Path | None = None
    profile: str | None = None
    compare: bool = False


def evaluate_command(folders: Sequence[Path], asked: Request, console: Console) -> dict[str, Any]:
    """`evaluate`, and its form that compares."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder")
    if asked.compare:
        result = compare_runs(folders, asked.out)
        for difference in result["differences"]:
            paired, unpaired = difference["paired"], difference["unpaired"]
            console.print(
                f"{difference['run']} − {difference['minus']}: {paired} pairs, {unpaired} unpaired", soft_wrap=True
            )
            _show(difference, console)
        return result
    if len(folders) > 1:
        raise UserError("give one folder of videos; several are for --compare")
    result = _judged(folders[0], asked)
    console.print(
        f"{result['videos']} videos by {result['judge']}, {result['not_asked']} with nothing to ask", soft_wrap=True
    )
    _show(result["means"], console)
    for line in result.get("agreement", {}).get("lines", ()):
        console.print(line, highlight=False, soft_wrap=True)
    for video, reason in result["failed"].items():
        console.print(f"not judged: {video}: {reason}", highlight=False, soft_wrap=True, markup=False)
    return result


def _judged(videos: Path, asked: Request) -> dict[str, Any]:
    if asked.judge == "truth":
        if asked.world is None or asked.prompts or asked.profile:
            raise UserError(
                "--judge truth needs --world, the folder of a rendered world, and no --prompts or --profile"
            )
        return evaluate_world(videos, asked.world, asked.out)
    if asked.judge not in ("vlm", "tracks"):
        raise UserError(f"--judge {asked.judge}: give truth, tracks or vlm")
    if asked.prompts is None or asked.world:
        raise UserError(f"--judge {asked.judge} needs --prompts, a file with a line for every video, and no --world")
    from matrix_train.evaluate.judges import evaluate_by  # imports the engines, which take a second

    return evaluate_by(asked.judge, videos, asked.prompts, asked.out, asked.profile)


def _show(means: Mapping[str, Any], console: Console) -> None:
    for name in SCORES:
        row = means[name]
        console.print(
            f"  {name:9} {row['mean']:+.3f}  [{row['low']:+.3f}, {row['high']:+.3f}]", highlight=False, markup=False
        )
