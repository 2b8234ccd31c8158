"""VBench beside our scores, by files: it runs in an environment of its own, and we neither import nor install it.

What it is given: the folder of videos as it is, and `E/vbench_prompts.json`, its `--prompt_file` for `--mode
custom_input`: one object, the name of a file in `--videos_path` → its prompt. It looks at .mp4 and .gif alone.

What is read: the `…_eval_results.json` that it writes below its `--output_path`: by dimension [mean, [{"video_path":
…, "video_results": …, …}, …]]; VBench-2.0 writes the same. A video's result is a number, or true or false (dynamic
degree). Its mean may be on another scale than its videos' (imaging quality: a hundredth): both are kept as they are.

Seen in `vbench/__init__.py`, `vbench/imaging_quality.py`, `vbench/dynamic_degree.py` and, of 2.0,
`VBench-2.0/vbench2/__init__.py`, in github.com/Vchitect/VBench at 45e79ec; its README, "Evaluate Your Own Videos".
"""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.files import write_json
from schemas.text import one_line

PROMPTS_FILE = "vbench_prompts.json"

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Video(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    video_path: str
    video_results: Finite | bool


_Results = TypeAdapter(dict[str, tuple[Finite, list[_Video]]])


def write_prompts(out: Path, prompts: Sequence[Prompt]) -> None:
    """What VBench's `--prompt_file` wants."""
    write_json(out / PROMPTS_FILE, {prompt.video: prompt.prompt for prompt in prompts})


def read_results(path: Path, videos: Collection[str]) -> dict[str, dict[str, Any]]:
    """By dimension, VBench's own mean as `said`, and by video of `videos` what it found.

    UserError for a file that is not of this form, that knows a video twice or one that is not of these, or that has
    none of them in a dimension.
    """
    try:
        found = _Results.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"--vbench: there is no {path}: give the …_eval_results.json that VBench has written") from None
    except ValidationError as error:
        raise UserError(f"--vbench {path}: {one_line(error)}: not what VBench writes") from None
    dimensions = {}
    for name, (mean, rows) in found.items():
        by_video: dict[str, float] = {}
        for row in rows:
            video = PurePath(row.video_path.replace("\\", "/")).name
            if video not in videos:
                raise UserError(f"--vbench {path}: {name} is of {video}, which is none of these videos")
            if video in by_video:
                raise UserError(f"--vbench {path}: {name} has {video} twice")
            by_video[video] = float(row.video_results)
        if not by_video:
            raise UserError(f"--vbench {path}: {name} has no video")
        dimensions[name] = {"said": mean, "by_video": by_video}
    if not dimensions:
        raise UserError(f"--vbench {path} holds no dimension")
    return dimensions
