"""Jobs to videos, one after another: a job that fails is named and stops none, one that is done is not done again.

Every job has noise of its own, and every network sees one job at a time, so neither order nor batch size changes a bit
of a video. What jobs of a batch share is the way of the parts to the device: with `offload` the text encoder, which is
large, goes there once a batch and not once a video. The transformer has nothing to gain from more videos at once: one
alone is thousands of tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from matrix_train.attention.cut import Words
from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import covered_cells
from matrix_train.backbones.guidance import Guidance
from matrix_train.backbones.scene import Scene
from matrix_train.data.geometry import Geometry
from matrix_train.errors import UserError
from matrix_train.files import file_sha256, write_whole
from matrix_train.fit.noise import generator
from matrix_train.fit.rundir import versions
from matrix_train.generate.frames import decode_frames, generate_latents
from matrix_train.generate.mp4 import write_mp4
from matrix_train.sample.job import Job, Unreadable
from matrix_train.sample.model import Model
from matrix_train.sample.picture import Picture, read_picture
from matrix_train.sample.reading import read_roles
from matrix_train.sample.record import (
    SCHEMA_VERSION,
    Record,
    SampleSettings,
    digest_of,
    is_done,
    record_file,
)
from matrix_train.sample.trackers import Trackers
from matrix_train.sample.words import check_words, role_tokens
from schemas import Span
from schemas.text import one_line


@dataclass(frozen=True)
class Task:
    """A video to make."""

    name: str
    job: Job
    settings: SampleSettings
    out: Path
    """The mp4."""


@dataclass
class Outcome:
    """Names of jobs; of those that failed, why."""

    made: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """Were done before."""
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Ready:
    """A task whose input is checked."""

    task: Task
    picture: Picture
    places: dict[str, tuple[Span, ...]]
    made_of: str


def make_videos(
    model: Model,
    tasks: Sequence[Task | Unreadable],
    trackers: Trackers,
    console: Console,
    batch: int = 1,
    alone: bool = False,
) -> Outcome:
    """See the module. alone: a job that fails is the caller's UserError."""
    log = _Log(len(tasks), console, alone)
    for start in range(0, len(tasks), batch):
        ready: list[_Ready] = []
        for task in tasks[start : start + batch]:
            with log.of(task.name):
                if isinstance(task, Unreadable):
                    raise UserError(task.reason)
                checked = _check(model, task, trackers, log)
                if is_done(task.out, checked.made_of):
                    log.outcome.there.append(task.name)
                    log.say(task.name, f"{task.out} is there already, made of the same")
                else:
                    ready.append(checked)
        if not ready:
            continue
        scenes: list[tuple[_Ready, Scene]] = []
        with model.at_work(*model.encoders.readers.values()):
            for one in ready:
                with log.of(one.task.name):
                    scenes.append((one, _scene(model, one, log)))
        made: list[tuple[_Ready, Tensor]] = []
        with model.at_work(model.backbone.model):
            for one, scene in scenes:
                with log.of(one.task.name):
                    made.append((one, generate_latents(model.backbone, model.encoders, scene).cpu()))
        for one, latents in made:
            with log.of(one.task.name):
                _write(model, one, latents)
                log.outcome.made.append(one.task.name)
                log.say(one.task.name, str(one.task.out))
    return log.outcome


class _Log:
    """Which job has come to which end, told as it comes."""

    def __init__(self, count: int, console: Console, alone: bool) -> None:
        self.count, self.console, self.alone, self.outcome = count, console, alone, Outcome()

    def say(self, name: str, what: str) -> None:
        ended = len(self.outcome.made) + len(self.outcome.there) + len(self.outcome.failed)
        self.console.print(f"{ended}/{self.count} {name}: {what}", highlight=False, soft_wrap=True, markup=False)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Around a part of a job's work: the job fails where its input does, or where it is too large; the next is
        another one. Whatever else goes wrong is no job's fault, and ends them all."""
        try:
            yield
        except (UserError, MemoryError, torch.OutOfMemoryError) as error:
            told = str(error)
            if not isinstance(error, UserError):
                told = f"{one_line(told.split('. ')[0])}: give --offload, or fewer --frames, --height and --width"
            if self.alone:
                raise UserError(told) from None
            self.outcome.failed[name] = one_line(told, 500)
            self.say(name, f"failed: {self.outcome.failed[name]}")


def _check(model: Model, task: Task, trackers: Trackers, log: _Log) -> _Ready:
    """UserError for input that no video can be made from; nothing is loaded yet but the tokenizer."""
    picture = read_picture(task.job, trackers)
    for name, masks in picture.masks.items():
        if len(masks) not in (1, task.settings.frames):
            raise UserError(
                f"{name} has {len(masks)} masks, the video {task.settings.frames} frames: give one each, or one alone"
            )
    places = check_words(task.job, picture.masks.keys(), model.tagged)
    job = task.job
    if task.settings.cmg and not places:
        places = read_roles(job.prompt, picture.masks.keys())
        said = ", ".join(
            f"{ids} by {' … '.join(job.prompt[s.start : s.end] for s in at)!r}" for ids, at in places.items()
        )
        log.say(task.name, f"no words are marked: the prompt is read to mean {said}")
        job = job.model_copy(update={"roles": places})
    return _Ready(replace(task, job=job), picture, places, digest_of(job, picture, task.settings, model.weights))


def _scene(model: Model, ready: _Ready, log: _Log) -> Scene:
    settings, job, plan = ready.task.settings, ready.task.job, model.plan
    grid = plan.grid(settings.frames, settings.height, settings.width)
    geometry = Geometry(settings.frames, settings.height, settings.width)
    image, id_map = ready.picture.cut(geometry)
    length = plan.prompt_shape[0]
    # Guidance alone wants the words of the roles: without it a caption may be longer than what the model reads.
    input_ids, tokens = role_tokens(model.tokenizer, job.prompt, ready.places if settings.cmg else {}, length)
    if (count := len(model.tokenizer(job.prompt, verbose=False)["input_ids"])) > length:
        log.say(ready.task.name, f"the model reads {length} of the prompt's {count} tokens")
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(model.device)
    conditions = model.encoders.read(pixels, torch.tensor([input_ids], device=model.device))
    return Scene(
        image, id_map, conditions, model.encoders.empty(length), settings.frames, settings.steps, settings.guidance,
        generator(job.seed, "sample", job.noise), _guidance(ready, tokens, geometry, grid, model.device),
    )  # fmt: skip


def _guidance(
    ready: _Ready, tokens: dict[str, tuple[int, ...]], geometry: Geometry, grid: Grid, device: torch.device
) -> Guidance | None:
    settings = ready.task.settings
    if not settings.cmg and not settings.cag:
        return None
    words = None
    if settings.cmg:
        cells = {name: region(masks, geometry, grid) for name, masks in ready.picture.masks.items()}
        roles = []
        for ids, found in tokens.items():
            own = torch.stack([cells[name] for name in ids.split("+")])
            roles.append((found, own.any(dim=0)))
        words = Words.of(roles).to(device)
    return Guidance(settings.cmg, settings.cag, settings.cmg_blocks, settings.cag_blocks, words, grid.frames)


def region(masks: Any, geometry: Geometry, grid: Grid) -> Tensor:
    """Cells of the latent grid that an instance covers, bool [cells].

    masks: [T, H, W], of every frame of the video, or of the first alone, and then the region is there alone.
    """
    cut = torch.from_numpy(geometry.labels(masks).copy())
    found = torch.zeros(grid.frames, grid.height, grid.width, dtype=torch.bool)
    for frame in range(grid.frames if len(cut) > 1 else 1):
        end = len(cut) - grid.time_factor * (grid.frames - 1 - frame) if len(cut) > 1 else 1
        # The first token stands for one frame, each other one for as many as the VAE joins in it.
        seen = cut[max(end - grid.time_factor, 0) if frame else 0 : end].any(dim=0)
        if seen.any():
            found[frame] = covered_cells(seen[None].to(torch.uint8), grid.height, grid.width)[0]
    return found.flatten()


def _write(model: Model, ready: _Ready, latents: Tensor) -> None:
    """The mp4, then its record: what has one is whole."""
    task = ready.task
    settings = task.settings
    frames = decode_frames(model.encoders, latents.to(model.device), settings.tiling)[: settings.frames]
    if (size := frames.shape[1:3]) != (settings.height, settings.width):  # tiles of a VAE made for another size
        raise UserError(f"the VAE's tiles join to {size[0]}x{size[1]} pixels at this size: give --no-tiling")
    record_file(task.out).unlink(missing_ok=True)
    write_mp4(task.out, frames, settings.fps)
    image = str(Path(task.job.image).resolve())
    given = {"image": image, "idmap": None, "boxes": {}, "points": {}, "masks": ready.picture.rles(), "name": task.name}
    about = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "cpu"
    source = model.source.model_copy(update={"path": model.source.path.resolve()})
    record = Record(
        schema_version=SCHEMA_VERSION, made_of=ready.made_of, mp4_sha256=file_sha256(task.out),
        image_sha256=ready.picture.sha256, job=Job.model_validate(task.job.model_dump() | given),
        settings=settings, source=source, weights=asdict(model.weights), device=about, versions=versions(),
    )  # fmt: skip
    write_whole(record_file(task.out), record.model_dump_json(indent=2) + "\n")
