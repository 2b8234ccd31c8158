"""What `matrix_train evaluate` does. Imports neither torch nor diffusers: scores need none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from matrix_train.errors import UserError
from matrix_train.evaluate.compare import compare as compare_runs
from matrix_train.evaluate.exchange.reading import evaluate_files
from matrix_train.evaluate.protocol.scores import SCORES
from matrix_train.evaluate.run import evaluate_world
from schemas.text import visible


@dataclass(frozen=True)
class Request:
    """The options as given."""

    out: Path
    judge: str = "truth"
    world: Path | None = None
    prompts: Path | None = None
    profile: str | None = None
    compare: bool = False
    bias: Path | None = None
    vbench: Path | None = None


def evaluate_command(folders: Sequence[Path], asked: Request, console: Console) -> dict[str, Any]:
    """`evaluate`, and its form that compares."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder")
        if asked.judge != "files" and asked.out.resolve() == folder.resolve():
            raise UserError(f"--out {asked.out} is what is read: give another place")
    if asked.compare:
        if len(folders) < 2:
            raise UserError("--compare: give two folders of results or more")
        result = compare_runs(folders, asked.out)
        _tell_compared(result, console)
        return result
    if len(folders) > 1:
        raise UserError("give one folder of videos, or of folders of videos; several are for --compare")
    result = _judged(folders[0], asked)
    if "differences" in result:
        _tell_compared(result, console)
    else:
        _tell(result, console)
    for video, reason in result["failed"].items():
        _say(console, f"not judged: {video}: {reason}")
    return result


def _judged(videos: Path, asked: Request) -> dict[str, Any]:
    if asked.bias and asked.judge != "vlm":
        raise UserError("--bias is for --judge vlm: the bias of the others is known")
    if asked.judge == "truth":
        if asked.world is None or asked.prompts or asked.profile or asked.vbench:
            raise UserError(
                "--judge truth needs --world, the folder of a rendered world, and no --prompts, --profile or --vbench"
            )
        return evaluate_world(videos, asked.world, asked.out)
    if asked.judge == "files":
        if asked.world or asked.prompts or asked.profile or asked.vbench:
            raise UserError("--judge files reads what is there: give no --world, --prompts, --profile or --vbench")
        return evaluate_files(videos, asked.out)
    if asked.judge not in ("vlm", "tracks"):
        raise UserError(f"--judge {asked.judge}: give truth, tracks, vlm or files")
    if asked.prompts is None or asked.world:
        raise UserError(f"--judge {asked.judge} needs --prompts, a file with a line for every video, and no --world")
    from matrix_train.evaluate.profile import Asked, evaluate_by  # imports the engines, which take a second

    wanted = Asked(asked.judge, asked.prompts, asked.profile, asked.bias, asked.vbench)
    return evaluate_by(wanted, videos, asked.out)


def _tell(result: Mapping[str, Any], console: Console) -> None:
    say = partial(_say, console)
    say(
        f"{result['videos']} videos by {result['judge']}, {result['not_asked']} with nothing to ask, "
        f"{len(result['failed'])} not judged ({result['undecided']} undecided)"
    )
    _show(result["means"], console, result["corrected"])
    for name, row in result["vbench"].items():
        say(f"  VBench {name}: {row['mean']:.3f}  [{row['low']:.3f}, {row['high']:.3f}] over {row['videos']} videos")
    _tell_agreement(result.get("agreement", {}), say)
    if theirs := result.get("theirs"):
        say(f"their own IF of {theirs['videos']} videos is apart from it by {theirs['most_apart']:.4f} at most")
    _tell_bias(result["bias"], console)


def _tell_bias(bias: Mapping[str, Any], console: Console) -> None:
    if not bias:
        return
    say = partial(_say, console)
    put = ", ".join(f"{count} {name}" for name, count in bias["plants"].items())
    say(f"this judge where the answers are known, on {bias['videos']} videos of {bias['world']} ({put}):")
    for name, one in (bias["questions"] | bias["checks"]).items():
        say(
            f"  {name:3} yes to {one['yes_to_false']} of {one['false_asked']} that are false, "
            f"to {one['yes_to_true']} of {one['true_asked']} that are so"
        )
    for plant, reason in bias["failed"].items():
        say(f"not answered: {plant}: {reason}")
    for line in bias["warnings"]:
        say(f"warning: {line}")


def _tell_compared(result: Mapping[str, Any], console: Console) -> None:
    say = partial(_say, console)
    for model in result["models"]:
        say(f"{model['name']}: {model['videos']} videos, {model['failed']} not judged ({model['undecided']} undecided)")
        _show(model["means"], console, model["corrected"])
        for line in model["warnings"]:
            say(f"warning: {line}")
    for one in result["differences"]:
        say(f"{one['run']} − {one['minus']}: {one['paired']} pairs, {one['renamed']} of them under other names, "
            f"{one['unpaired']} unpaired, {one['other_prompt']} with other prompts")  # fmt: skip
        _show(one, console)
    _tell_agreement(result["agreement"], say)


def _tell_agreement(agreement: Mapping[str, Any], say: Callable[[str], None]) -> None:
    for table in agreement.values():
        for line in table["lines"]:
            say(line)


def _show(means: Mapping[str, Any], console: Console, corrected: Mapping[str, Any] | None = None) -> None:
    for name in SCORES:
        row, right = means[name], (corrected or {}).get(name)
        beside = f"  corrected {right['mean']:+.3f}  [{right['low']:+.3f}, {right['high']:+.3f}]" if right else ""
        _say(console, f"  {name:9} {row['mean']:+.3f}  [{row['low']:+.3f}, {row['high']:+.3f}]{beside}")


def _say(console: Console, line: str) -> None:
    """Names and reasons come from outside: none moves the cursor or begins a line."""
    console.print(visible(line), highlight=False, markup=False, soft_wrap=True)
