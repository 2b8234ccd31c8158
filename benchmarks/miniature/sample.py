"""Videos of the asked pictures by the base and by every arm, through the product's sampler; and sheets to look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.effect.__main__ import place
from benchmarks.effect.arms import paper_arms
from benchmarks.miniature.backbone import Miniature
from benchmarks.miniature.sizes import PRECISION, Size
from matrix_train.cli.sample import device_named
from matrix_train.evaluate.run import read_truth
from matrix_train.export.export import EXPORT_FILE
from matrix_train.sample.grid import read_mp4, write_grid
from matrix_train.sample.job import Job
from matrix_train.sample.model import Model, Source
from matrix_train.sample.record import SampleSettings
from matrix_train.sample.run import Task, make_videos
from matrix_train.sample.trackers import Trackers

BASE = "base"
ARMS = (BASE, *paper_arms())
GUIDANCE = 3.0
"""Classifier-free."""
SHOWN = 12
"""Prompts on a sheet: both turns of two pictures of each kind."""


def sample_base(folder: Path, size: Size, seed: int) -> None:
    """The base alone: what decides whether it is good enough to go on from, before any arm is seen."""
    _videos(_base(folder, seed), folder, size, seed, BASE)
    _sheet(folder, size, seed, [BASE], "base.mp4")


def sample_arms(folder: Path, size: Size, seed: int, chosen: Sequence[str]) -> None:
    """All prompts by these; a sheet once all arms have been."""
    for arm in chosen:
        source = _base(folder, seed) if arm == BASE else Source(path=place(folder, arm, seed))
        _videos(source, folder, size, seed, arm)
    if all(videos_of(folder, seed, arm).exists() for arm in ARMS):
        _sheet(folder, size, seed, ARMS, "arms.mp4")


def asked_table(folder: Path) -> dict[str, Any]:
    """By name, what `benchmarks.miniature.render` says of it."""
    found: dict[str, Any] = json.loads((folder / "asked" / "asked.json").read_bytes())
    return found


def videos_of(folder: Path, seed: int, arm: str) -> Path:
    """Folder of an arm's videos."""
    return folder / "videos" / place(folder, arm, seed).relative_to(folder)


def _base(folder: Path, seed: int) -> Source:
    """As the sampler knows a base model: by an export that was made from it, of which nothing else is read."""
    own = folder / f"seed{seed}"
    about = {
        "kind": "lora", "backbone": Miniature.name, "base_model": str(own / "base"), "base_revision": None,
        "checkpoint_sha256": None,
    }  # fmt: skip
    (own / "untrained").mkdir(exist_ok=True)
    (own / "untrained" / EXPORT_FILE).write_text(json.dumps(about), encoding="utf-8")
    return Source(path=own / "untrained", untrained=True, precision=PRECISION)


def _videos(source: Source, folder: Path, size: Size, seed: int, arm: str) -> None:
    """SystemExit where one cannot be made."""
    film, model = size.film, Model(source, device_named("auto"))
    settings = SampleSettings(
        frames=film.frames, height=film.height, width=film.width, fps=film.fps, steps=size.sampling_steps,
        guidance=GUIDANCE, cmg_blocks=(), cag_blocks=(),
    )  # fmt: skip
    tasks = []
    for name in asked_table(folder):
        truth = read_truth(folder / "asked" / "truth" / f"{name}.mp4.json")
        picture = name.rpartition("-")[0]
        job = Job(
            image=str(folder / "asked" / f"{name}.png"), prompt=truth.caption or "", name=name, seed=seed,
            # Of both turns and all arms the same: they differ in what is compared alone.
            noise=picture, masks={i.id: i.masks[0] for i in truth.instances if i.masks[0] is not None},
        )  # fmt: skip
        tasks.append(Task(name, job, settings, videos_of(folder, seed, arm) / f"{name}.mp4"))
    outcome = make_videos(model, tasks, Trackers(), Console(quiet=True))
    if outcome.failed:
        raise SystemExit(f"{arm}, seed {seed}: {outcome.failed}")
    print(f"{arm}, seed {seed}: {len(outcome.made)} videos made, {len(outcome.there)} were there", flush=True)


def _sheet(folder: Path, size: Size, seed: int, made: Sequence[str], file: str) -> None:
    """Each row a prompt: what should be seen, then what was made."""
    rows = []
    for name in list(asked_table(folder))[:SHOWN]:
        videos = {"true": read_mp4(folder / "asked" / "videos" / f"{name}.mp4")}
        videos |= {arm: read_mp4(videos_of(folder, seed, arm) / f"{name}.mp4") for arm in made}
        rows.append((name, videos))
    write_grid(rows, folder / f"seed{seed}" / file, size.film.fps)
