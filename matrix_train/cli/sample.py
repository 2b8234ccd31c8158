"""`matrix_train sample` and `matrix_train idmap`: what they do, in the order they do it (options: `sampling.py`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from matrix_train.data.geometry import Geometry
from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.sampled import (
    Asked,
    Found,
    asked_of_job,
    asked_of_sample,
    check_place,
    write_prompts,
)
from matrix_train.files import file_sha256, held, write_whole
from matrix_train.sample.dataset import HeldOutClip, held_out
from matrix_train.sample.grid import read_mp4, write_grid
from matrix_train.sample.job import Job, Unreadable, check_count, read_table
from matrix_train.sample.model import Model, Source
from matrix_train.sample.picture import pixels_sha256, read_image, read_picture
from matrix_train.sample.record import SampleSettings, read_record, record_file
from matrix_train.sample.run import Outcome, Task, make_videos
from matrix_train.sample.trackers import Trackers
from schemas.base import InstanceId
from schemas.idmap import encode_id_map, id_map
from schemas.text import one_line


@dataclass(frozen=True)
class How:
    """Options of every form of `sample`; None: as the run has it."""

    device: str
    batch: int
    offload: bool
    profile: Path | None
    settings: Mapping[str, Any]
    """Of `SampleSettings`, those that are given."""


def sample_job(source: Source, job: Mapping[str, Any], out: Path, how: How, console: Console) -> dict[str, Any]:
    """One video."""
    if out.suffix != ".mp4":
        raise UserError(f"--out {out}: give the name of an mp4")
    try:
        checked = TypeAdapter(Job).validate_python(job)
    except ValidationError as error:
        raise UserError(one_line(error)) from None
    with held(out.parent, out.name):
        model = Model(source, device_named(how.device), how.offload)
        task = Task(out.stem, checked, settings_of(model, how.settings), out)
        return {"video": str(out), **asdict(run(model, [task], how, console, alone=True))}


def sample_table(source: Source, table: Path, out: Path, how: How, console: Console) -> dict[str, Any]:
    """A video for every line of a table; of those that say who does what to whom, also what `evaluate` asks about."""
    with held(out):
        lines = list(read_table(table))
        check_place(out, [found[0] for found in lines if not isinstance(found, Unreadable)])
        model = Model(source, device_named(how.device), how.offload)
        settings = settings_of(model, how.settings)
        tasks = [
            found if isinstance(found, Unreadable) else Task(found[0], found[1], settings, out / f"{found[0]}.mp4")
            for found in lines
        ]
        outcome = run(model, tasks, how, console)
        videos = [out / f"{name}.mp4" for name in (*outcome.made, *outcome.there)]
        prompts = _tell_prompts(out, {video.name: _asked_of(video) for video in videos}, console)
        return {"out": str(out), "prompts": prompts, **asdict(outcome)}


def sample_dataset(
    source: Source, dataset: str, split: str, limit: int, seed: int, base: bool, out: Path, how: How, console: Console
) -> dict[str, Any]:
    """Held-out clips beside their originals, and beside the base model's, and what `evaluate` asks about them."""
    if split not in ("train", "val"):
        raise UserError(f"--split {split}: give train or val")
    with held(out):
        check_place(out)
        model = Model(source, device_named(how.device), how.offload)
        settings = settings_of(model, how.settings)
        size = {name: getattr(settings, name) for name in ("frames", "height", "width")}
        config = model.recipe.data.model_copy(update={"dataset": dataset, **size})
        clips = held_out(config, "val" if split == "val" else "train", limit, seed, out)
        total, videos = Outcome(), dict[str, dict[str, Path]]()
        whose = {"model": (model, out)}
        if base:
            alone = source.model_copy(update={"untrained": True})
            whose["base"] = (Model(alone, model.device, how.offload), out / "base")
        for label, (by, folder) in whose.items():
            tasks = [_task_of(clip, settings, folder, "fps" not in how.settings) for clip in clips]
            outcome = run(by, tasks, how, console)
            prefix = "" if label == "model" else f"{label}/"
            total.made += [prefix + name for name in outcome.made]
            total.there += [prefix + name for name in outcome.there]
            total.failed |= {prefix + name: why for name, why in outcome.failed.items()}
            for name in (*outcome.made, *outcome.there):
                videos.setdefault(name, {})[label] = folder / f"{name}.mp4"
            by.__dict__.pop("backbone", None)  # the next one needs its room
        good = [c for c in clips if isinstance(c, HeldOutClip) and len(videos.get(c.key, {})) == len(whose)]
        grid = out / "grid.mp4"
        if good:
            rows = [
                (c.key, {"original": c.original, **{label: read_mp4(file) for label, file in videos[c.key].items()}})
                for c in good
            ]
            write_grid(rows, grid, good[0].fps)
            console.print(f"grid of {len(good)} clips in {grid}", highlight=False, soft_wrap=True)
        made = [c for c in clips if isinstance(c, HeldOutClip) and "model" in videos.get(c.key, {})]
        asked = {n: (c.sample.caption, asked_of_sample(n, c.sample, c.id_map)) for c in made for n in [f"{c.key}.mp4"]}
        prompts = _tell_prompts(out, asked, console)
        return {"out": str(out), "grid": str(grid) if good else None, "prompts": prompts, **asdict(total)}


def sample_again(file: Path, out: Path | None, base: str | None, how: How, console: Console) -> dict[str, Any]:
    """The video of a record once more. base: where its base model is now. `same`: whether its bytes are the recorded
    ones."""
    record = read_record(file)
    source = record.source if base is None else record.source.model_copy(update={"base": _place(base)})
    out = out or file.with_name(f"{file.stem}.again.mp4")
    if out.with_suffix(".json") == file:
        raise UserError(f"--out {out}: that is the video of {file} itself: give another name")
    model = Model(source, device_named(how.device), how.offload)
    changed = [name for name, value in asdict(model.weights).items() if record.weights.get(name) != value]
    if changed:
        raise UserError(f"{file} was made by other weights than are in {source.path} now: {', '.join(changed)}")
    task = Task(record.job.name or out.stem, record.job, record.settings, out)
    if pixels_sha256(read_image(Path(record.job.image))) != record.image_sha256:
        raise UserError(f"{record.job.image} is not the picture that {file} was made from: put that one back")
    with held(out.parent, out.name):
        run(model, [task], how, console, alone=True)
    same = file_sha256(out) == record.mp4_sha256
    console.print("the same bytes" if same else "other bytes: see device and versions in both JSON files")
    return {"video": str(out), "same": same}


def idmap_command(
    image: Path, boxes: Sequence[str], points: Sequence[str], out: Path, profile: Path | None, console: Console
) -> dict[str, Any]:
    """`idmap`: masks of boxes and points as a palette PNG."""
    if out.suffix != ".png":
        raise UserError(f"--out {out}: give the name of a PNG")
    picture = read_image(image)
    corners, spots = places(boxes, 4, "--box", "id1=x0,y0,x1,y1"), places(points, 2, "--point", "id1=x,y")
    if not corners and not spots:
        raise UserError("give a --box or a --point for each instance")
    if both := corners.keys() & spots.keys():
        raise UserError(f"{min(both)} has a box and a point: give one")
    try:
        check_count([*corners, *spots])
    except ValueError as error:
        raise UserError(str(error)) from None
    with held(out.parent, out.name):
        masks = Trackers(profile).masks(picture, corners, spots)  # type: ignore[arg-type]
        indices = id_map(masks, *picture.shape[:2])
        write_whole(out, encode_id_map(indices))
    pixels = {name: int((indices == int(name[2:])).sum()) for name in sorted(masks)}
    said = ", ".join(f"{name} {count} pixels" for name, count in pixels.items())
    console.print(f"{out}: {said}", highlight=False, soft_wrap=True)
    return {"out": str(out), "pixels": pixels}


def places(given: Sequence[str], count: int, option: str, form: str) -> dict[str, tuple[float, ...]]:
    """`id1=1,2` as numbers by ID. UserError."""
    found: dict[str, tuple[float, ...]] = {}
    for text in given:
        name, _, numbers = text.partition("=")
        try:
            TypeAdapter(InstanceId).validate_python(name)
            values = tuple(float(part) for part in numbers.split(","))
            if len(values) != count or not all(abs(value) < 1e6 for value in values):
                raise ValueError
        except ValueError:
            raise UserError(f"{option} {text}: write it as {form}") from None
        if name in found:
            raise UserError(f"{option} {text}: {name} has one already")
        found[name] = values
    return found


def roles_of(given: Sequence[str]) -> dict[str, str]:
    """`id1=the man` by IDs; those are checked with the job. UserError."""
    pairs = [text.partition("=") for text in given]
    for (ids, equals, words), text in zip(pairs, given, strict=True):
        if not equals or not words.strip():
            raise UserError(f'--role {text}: write it as id1="the man", or id1+id2="lifts"')
        if sum(other == ids for other, _, _ in pairs) > 1:
            raise UserError(f"--role {text}: {ids} has words already")
    return {ids: words for ids, _, words in pairs}


def settings_of(model: Model, given: Mapping[str, Any]) -> SampleSettings:
    """Those that are given, and the run's else."""
    recipe = model.recipe
    usual = {
        "frames": recipe.data.frames, "height": recipe.data.height, "width": recipe.data.width,
        "fps": model.plan.fps, "steps": recipe.validation.sampling_steps, "guidance": recipe.validation.guidance,
        "cmg_blocks": recipe.align.sga_blocks, "cag_blocks": recipe.align.spa_blocks,
    }  # fmt: skip
    try:
        settings = SampleSettings.model_validate(usual | {k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise UserError(f"sample: {one_line(error)}") from None
    model.plan.grid(settings.frames, settings.height, settings.width)
    guided = (*(settings.cmg_blocks if settings.cmg else ()), *(settings.cag_blocks if settings.cag else ()))
    model.plan.check_blocks(guided)
    if settings.compile:
        model.eager = guided
    return settings


def source_of(run: Path, checkpoint: str | None, base: str | None, precision: str | None) -> Source:
    where = None if base is None else _place(base)
    return Source.model_validate({"path": run, "checkpoint": checkpoint, "base": where, "precision": precision})


def _place(base: str) -> str:
    """A base model that is a folder by its whole path: a record is read from anywhere."""
    return str(Path(base).resolve()) if Path(base).exists() else base


def device_named(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"--device {name}: there is none such here; give auto or cpu")
    return torch.device(name)


def run(model: Model, tasks: Sequence[Task | Unreadable], how: How, console: Console, alone: bool = False) -> Outcome:
    return make_videos(model, tasks, Trackers(how.profile), console, how.batch, alone)


def _asked_of(video: Path) -> tuple[str, Asked | str]:
    """The prompt of a table's video, by its record, and what it is asked about; or why nothing is."""
    record = read_record(record_file(video))
    settings = record.settings
    indices = read_picture(record.job, Trackers()).indices
    cut = Geometry(settings.frames, settings.height, settings.width).labels(indices)
    return record.job.prompt, asked_of_job(video.name, record.job, cut)


def _tell_prompts(out: Path, found: Found, console: Console) -> str | None:
    """Writes what is asked about, by video; where that is not so of all, says of which not."""
    file = write_prompts(out, found)
    told = [f"prompts for `matrix_train evaluate` in {file}"] if file else []
    told += [f"no prompt for {video}: {why}" for video, (_, why) in found.items() if isinstance(why, str)]
    for line in told if file else ():
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return str(file) if file else None


def _task_of(clip: HeldOutClip | Unreadable, settings: SampleSettings, folder: Path, own: bool) -> Task | Unreadable:
    if isinstance(clip, Unreadable):
        return clip
    paced = settings.model_copy(update={"fps": clip.fps}) if own else settings
    return Task(clip.key, clip.job, paced, folder / f"{clip.key}.mp4")
