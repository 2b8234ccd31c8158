"""Held-out clips of a data set as jobs: their first frames, captions, tracks and roles, as training has them."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from matrix_train.attention.tags import tagged
from matrix_train.data import DataConfig, Geometry, Split, read_index
from matrix_train.data.entry import Bad, Entry, read_entry
from matrix_train.data.video import BrokenVideo, decode
from matrix_train.files import whole
from matrix_train.sample.beside import FIRST
from matrix_train.sample.job import Job, Unreadable
from matrix_train.sample.picture import encode
from matrix_train.sample.words import role_places
from schemas import Sample
from schemas.text import one_line


@dataclass(frozen=True)
class HeldOutClip:
    """A clip to be sampled beside the original."""

    key: str
    job: Job
    fps: float
    original: NDArray[np.uint8]
    """RGB [T, H, W, 3], as training sees it."""
    sample: Sample
    id_map: NDArray[np.uint8]
    """Palette indices [H, W] of its first frame."""


def held_out(config: DataConfig, split: Split, limit: int, seed: int, folder: Path) -> list[HeldOutClip | Unreadable]:
    """The split's first clips by key. Their first frames go to `folder`, as `<key>.first.png`.

    UserError where the data set cannot be read; a clip that cannot be used is named.
    """
    source, rows, _, labels = read_index(config, split)
    geometry = Geometry.of(config)
    found: list[HeldOutClip | Unreadable] = []
    for row in islice(rows, limit):
        try:
            if row.frames < geometry.span:
                raise Bad("too_short", f"{row.frames} frames, {geometry.span} are needed")
            entry = read_entry(source, row, labels.of(row.key))
            frames = np.empty((geometry.frames, entry.sample.height, entry.sample.width, 3), np.uint8)
            decode(entry.mp4, geometry.taken, entry.sample.frames, frames)
            image = folder / (row.key + FIRST)
            job = _job(row.key, entry, config, geometry, seed, image)
        except (Bad, BrokenVideo, ValidationError) as error:
            found.append(Unreadable(row.key, one_line(error)))
            continue
        with whole(image) as scratch:
            Image.fromarray(frames[0]).save(scratch, format="PNG")
        fps, id_map = entry.sample.fps / geometry.frame_step, geometry.labels(entry.id_map)
        found.append(HeldOutClip(row.key, job, fps, geometry.video(frames), entry.sample, id_map))
    return found


def _job(key: str, entry: Entry, config: DataConfig, geometry: Geometry, seed: int, image: Path) -> Job:
    sample = entry.sample
    prompt, roles = sample.caption, role_places((act.subject, act.object, act.spans) for act in sample.interactions)
    if config.prompt == "tagged":
        with_tags = tagged(sample.caption, sample.interactions)
        # The tags say who is meant, and nothing says the verb.
        prompt, roles = with_tags.prompt, {}
    masks = {name: tuple(encode(mask) for mask in entry.masks.fill(name, geometry.taken)) for name in entry.masks.runs}
    known = {"image": str(image), "prompt": prompt, "name": key, "seed": seed, "noise": key}
    return Job.model_validate(known | {"masks": masks, "roles": roles})
