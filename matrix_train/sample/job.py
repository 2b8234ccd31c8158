"""What a video is to be made of, as a person writes it: a line of `jobs.jsonl`, or the options of the command line.

{"name": "a", "image": "a.png", "prompt": "A man lifts a box.", "boxes": {"id1": [12, 40, 200, 310]},
 "roles": {"id1": "A man", "id1+id2": "lifts", "id2": "a box"}, "points": {"id2": [300, 220]}, "seed": 3}
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from matrix_train.errors import UserError
from matrix_train.files import json_lines
from schemas import MaskRle, Span
from schemas.base import InstanceId
from schemas.palette import number
from schemas.settings import Settings
from schemas.text import caption_problem
from schemas.tracks import Rle

MOST_IDS = 5
"""Instances of a clip, at most (paper §3): the model has seen no more."""

LONGEST_PROMPT = 4000


def _plain(prompt: str) -> str:
    problem = caption_problem(prompt, LONGEST_PROMPT) or (None if prompt.strip() else "is empty")
    if problem:
        raise ValueError(problem.replace("the caption", "it"))
    return prompt


MARKED = re.compile(r"<(id[1-9][0-9]?(?:\+id[1-9][0-9]?)*)>([^<>]*)</\1>")
"""Words of a prompt and whom they mean: `<id1>A man</id1>`. A tag that is not closed is a token (`words.py`)."""

Mask = Rle | MaskRle
RoleIds = Annotated[str, Field(pattern=r"^id[1-9][0-9]?(\+id[1-9][0-9]?)*$")]
"""Whose region it is: `id1`, or `id1+id2` for a verb between them."""


class Job(Settings):
    """Coordinates are pixels of the image, masks of its size. One of `idmap`, `masks`, and `boxes` with `points`."""

    image: str = Field(min_length=1, max_length=1000, description="first frame: PNG, JPEG or WebP")
    prompt: Annotated[str, AfterValidator(_plain)]
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$", description="of its files; else the line's number"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    noise: str = Field(default="", max_length=200, description="part of what the noise is drawn from, beside the seed")
    idmap: str | None = Field(default=None, description="palette PNG of the image's size")
    masks: dict[InstanceId, Mask | Annotated[tuple[Mask | None, ...], Field(min_length=1)]] | None = Field(
        default=None, description="COCO RLE by ID, of the first frame, or a list: of every frame of the video"
    )
    boxes: dict[InstanceId, tuple[float, float, float, float]] = Field(default={}, description="x0, y0, x1, y1 by ID")
    points: dict[InstanceId, tuple[float, float]] = Field(default={}, description="x, y by ID")
    roles: dict[RoleIds, str | tuple[Span, ...]] = Field(
        default={}, description="words of the prompt, or their places, by whom they mean"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_marks(cls, given: Any) -> Any:
        """Words that are marked in the prompt become roles; the prompt stands without the marks."""
        if not isinstance(given, dict) or not isinstance(marked := given.get("prompt"), str):
            return given
        prompt, at, spans = "", 0, dict[str, list[Span]]()
        for found in MARKED.finditer(marked):
            if not found[2].strip():
                raise ValueError(f"nothing stands between <{found[1]}> and </{found[1]}> in the prompt")
            prompt += marked[at : found.start()]
            spans.setdefault(found[1], []).append(Span(start=len(prompt), end=len(prompt) + len(found[2])))
            prompt, at = prompt + found[2], found.end()
        roles = given.get("roles", {})
        if not spans or not isinstance(roles, dict):
            return given
        if both := spans.keys() & roles.keys():
            raise ValueError(f"{min(both)} is marked in the prompt and has a role: give one")
        return given | {"prompt": prompt + marked[at:], "roles": roles | {ids: tuple(s) for ids, s in spans.items()}}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [self.idmap is not None, self.masks is not None, bool(self.boxes or self.points)]
        if sum(ways) != 1:
            raise ValueError("give the instances by one of idmap, masks, and boxes with points")
        if both := self.boxes.keys() & self.points.keys():
            raise ValueError(f"{min(both)} has a box and a point: give one")
        if self.masks is not None:
            check_count(self.masks.keys())
        check_count([*self.boxes, *self.points])
        return self


def check_count(ids: Iterable[str]) -> None:
    """ValueError for more instances than the model has seen."""
    names = sorted(ids, key=number)
    if len(names) > MOST_IDS:
        raise ValueError(f"{len(names)} IDs ({', '.join(names)}): the model knows {MOST_IDS} a clip, leave some out")


@dataclass(frozen=True)
class Unreadable:
    """A line of a table that is no job, and why."""

    name: str
    reason: str


def read_table(path: Path) -> list[tuple[str, Job] | Unreadable]:
    """The jobs of a JSON-lines file by name, in its order; pictures are looked for beside the file.

    UserError where the file cannot be read, or holds no line.
    """
    jobs: list[tuple[str, Job] | Unreadable] = []
    taken: set[str] = set()
    try:
        for place, found in json_lines(path, Job):
            if isinstance(found, str):
                jobs.append(Unreadable(f"line {place}", found))
            elif (name := found.name or f"{place:05d}").lower() in taken:
                told = f"another line has the name {name}: names are of files, give another"
                jobs.append(Unreadable(f"line {place}", told))
            else:
                taken.add(name.lower())
                jobs.append((name, beside(found, path.parent)))
    except OSError as error:
        raise UserError(f"--table {path}: cannot be read: {error.strerror}") from None
    if not jobs:
        raise UserError(f"--table {path}: holds no job: write one JSON object a line")
    return jobs


def beside(job: Job, folder: Path) -> Job:
    """With its files' paths as they are from here, those of the job being from this folder."""
    idmap = None if job.idmap is None else str(folder / job.idmap)
    return job.model_copy(update={"image": str(folder / job.image), "idmap": idmap})
