"""A folder of videos, or a folder of such folders, one a model: each judged by itself, and all against the first.

E/…                     the results of one folder of videos (`run.py`)
E/<model>/…             of every model, where VIDEOS holds folders and no file
E/compared.json         all models, and their differences to the first in the order of names (`compare.py`)
E/report.html           the same to look at

A model's own tracks and ID maps are found by `{model}`, the name of its folder, in their paths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matrix_train.errors import UserError
from matrix_train.evaluate.compare import compare
from matrix_train.evaluate.exchange.vbench import read_results
from matrix_train.evaluate.generated import Judging, evaluate_videos
from matrix_train.evaluate.protocol.prompt import Prompt, match_videos, read_prompts
from matrix_train.evaluate.run import NoneJudged, mean_of
from matrix_train.evaluate.seen.masks import check_engine
from matrix_train.sample.beside import beside_videos


def evaluate_folder(
    videos: Path, prompts_file: Path, out: Path, judging: Judging, results: Path | None = None
) -> dict[str, Any]:
    """The result as `scores.json` has it, or, of several models, as `compared.json`, with `failed` by model and video.

    results: of VBench, with `{model}` in its path where there are several. A model of which no video could be judged is
    left out of the comparison, and named. UserError before anything is judged where videos lack prompts or the reverse;
    and as for `evaluate_videos`.
    """
    prompts = read_prompts(prompts_file)
    models = models_of(videos)
    for place in [videos / model for model in models] or [videos]:
        match_videos(place, prompts, beside_videos(place))
        if results:
            _vbench(results, place, prompts)
    check_engine(prompts, judging.trackers)

    def judged(place: Path, out: Path) -> dict[str, Any]:
        own = [_of(prompt, place.resolve().name) for prompt in prompts]
        more = {**judging.more, "vbench": _vbench(results, place, prompts) if results else {}}
        return evaluate_videos(place, own, prompts_file.parent, out, replace(judging, more=more))

    if not models:
        return judged(videos, out)
    done: list[Path] = []
    failed: dict[str, str] = {}
    for model in models:
        try:
            failed |= _named(model, judged(videos / model, out / model)["failed"])
            done.append(out / model)
        except NoneJudged as error:
            failed[model] = str(error)
    if not done:
        raise UserError(f"no model could be judged; the first: {models[0]}: {failed[models[0]]}")
    return compare(done, out) | {"failed": failed}


def models_of(videos: Path) -> list[str]:
    """The folders in it, by name, where it holds nothing else: then each is a model's."""
    there = [path for path in videos.iterdir() if not path.name.startswith(".")]
    return sorted(path.name for path in there) if all(path.is_dir() for path in there) else []


def _vbench(results: Path, place: Path, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Means by dimension, of as many videos as VBench has looked at, with its own mean as `said`."""
    path = Path(str(results).replace("{model}", place.resolve().name))
    return {
        name: mean_of(list(found["by_video"].values())) | {"said": found["said"], "videos": len(found["by_video"])}
        for name, found in read_results(path, {prompt.video for prompt in prompts}).items()
    }


def _named(model: str, failed: Mapping[str, str]) -> dict[str, str]:
    return {f"{model}/{video}": why for video, why in failed.items()}


def _of(prompt: Prompt, model: str) -> Prompt:
    """The prompt with the paths of this model's own."""
    paths = {"tracks": prompt.tracks, "idmap": prompt.idmap}
    return prompt.model_copy(update={key: path and path.replace("{model}", model) for key, path in paths.items()})
