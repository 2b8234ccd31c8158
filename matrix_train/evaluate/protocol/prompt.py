"""What a video is asked about: its prompt, instances and key interactions, the frames shown, the boxes drawn in.

A line of a prompts file is a `Prompt`. The colour of an instance is that of its ID everywhere (`schemas/palette.py`),
so that the box, the question and the ID map of the first frame agree.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field, model_validator

from matrix_train.errors import UserError
from matrix_train.files import json_lines
from schemas.base import InstanceId, Record, Score5
from schemas.palette import NAMED, colour, colour_name, number

STRIDE = 5
"""Frames between two that are looked at (App. F)."""

LONGEST = 240
"""Bytes of a video's name, so that `.<name>.json.<process>` (files.py: `whole`) is one of at most 255."""

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


class Asked(Record):
    """An instance as the questions name it."""

    id: InstanceId
    cls: str = Field(min_length=1, max_length=80, description="base noun: 'man', 'cup'")
    appearance: str = Field(
        min_length=1, max_length=200, description="noun phrase without article: 'man in a red coat'"
    )

    @property
    def named(self) -> str:
        """As the paper names it: 'man in a red coat (red bbox)'."""
        return f"{self.appearance} ({colour_name(self.id)} bbox)"


class KeyInteraction(Record):
    """⟨subject, verb, object⟩, the verb as the prompt or its lemma says it: "push", "is picking up"."""

    subject: InstanceId
    verb: str = Field(min_length=1, max_length=120)
    object: InstanceId
    contact: Score5 | None = Field(default=None, description="rating (paper App. A.1); what the judge tracks goes by")
    dynamism: Score5 | None = Field(default=None, description="rating likewise")

    @property
    def text(self) -> str:
        return f"<{self.subject}> {self.verb} <{self.object}>"


class Prompt(Record):
    """One line of a prompts file: all that a video of this name is held to."""

    video: str = Field(pattern=r"^[^/\\]+$", description="file name in the folder of videos")
    prompt: str = Field(min_length=1)
    instances: tuple[Asked, ...] = Field(min_length=2)
    interactions: tuple[KeyInteraction, ...] = Field(min_length=1)
    tracks: str | None = Field(default=None, description="a .tracks.json (docs/shard_entry.md) of the video's frames")
    idmap: str | None = Field(
        default=None, description="the ID map of the first frame, a palette PNG: tracks are made from it"
    )

    @property
    def video_id(self) -> str:
        return self.video.rsplit(".", 1)[0]

    def instance(self, key: InstanceId) -> Asked:
        return next(i for i in self.instances if i.id == key)

    @model_validator(mode="after")
    def _consistent(self) -> "Prompt":
        if len(self.video.encode()) > LONGEST:
            raise ValueError(f"the video's name is longer than {LONGEST} bytes: results could not be named after it")
        ids = [i.id for i in self.instances]
        if len(set(ids)) != len(ids):
            raise ValueError("an instance ID is given twice")
        if beyond := [key for key in ids if number(key) > len(NAMED)]:
            raise ValueError(f"{beyond[0]} has no colour with a name: number instances from id1 to id{len(NAMED)}")
        for act in self.interactions:
            if act.subject == act.object or not {act.subject, act.object} <= set(ids):
                raise ValueError(f"{act.text} must name two different instances of this line")
        return self


def read_prompts(path: Path) -> list[Prompt]:
    """A prompts file, one JSON object a line. UserError names the line that is wrong, or doubled."""
    prompts: dict[str, Prompt] = {}
    for count, prompt in json_lines(path, Prompt):
        if isinstance(prompt, str):
            raise UserError(f"{path}, line {count}: {prompt}")
        if prompt.video in prompts:
            raise UserError(f"{path}, line {count}: {prompt.video} has a line already: give one line a video")
        prompts[prompt.video] = prompt
    if not prompts:
        raise UserError(f"{path} holds no prompt: give one JSON object a line (docs/training/evaluate.md)")
    return list(prompts.values())


def chosen_frames(count: int, stride: int = STRIDE) -> list[int]:
    """The frames that are looked at: the first, every `stride`-th, the last. ValueError for fewer than two frames."""
    if count < 2:
        raise ValueError("a video of one frame shows no interaction")
    return [*range(0, count - 1, stride), count - 1]


def box_around(mask: Mask) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of a mask [H, W], right and bottom exclusive; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def with_boxes(frame: Picture, masks: Mapping[InstanceId, Mask]) -> Picture:
    """A copy of the frame, RGB uint8 [H, W, 3], with a box in the ID's colour around each mask that is not empty."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(frame.shape[:2]) / 240))
    for key, mask in masks.items():
        if (box := box_around(mask)) is not None:
            left, top, right, bottom = box
            corners = (left - line, top - line, right + line - 1, bottom + line - 1)
            draw.rectangle(corners, outline=colour(key), width=line)
    return np.asarray(image)


def match_videos(folder: Path, prompts: Sequence[Prompt], others: Collection[str] = ()) -> None:
    """UserError where a prompt has no video, or a video no prompt: nothing is left out in silence.

    others: files that may be there without one. Also UserError where two names differ in their endings alone: the
    authors' files know a video by its name without.
    """
    counts = Counter(prompt.video_id for prompt in prompts)
    if double := sorted(video_id for video_id, count in counts.items() if count > 1):
        raise UserError(f"{folder}: several videos are called {double[0]}, with other endings: rename all but one")
    seen = [path for path in folder.iterdir() if not path.name.startswith(".")]
    there = {path.name for path in seen if path.is_file()}
    wanted = {prompt.video for prompt in prompts}
    if lost := sorted(wanted - there):
        folders, aside = sorted(path.name for path in seen if path.is_dir()), ""
        if there and folders:
            aside = f"; folders beside files are not looked at ({_some(folders)} beside {_some(sorted(there))}): where "
            aside += "they are models, take the files out"
        raise UserError(
            f"{folder}: no video {_some(lost)}, which the prompts name: make them, or take their lines out{aside}"
        )
    if extra := sorted(there - wanted - set(others)):
        raise UserError(f"{folder}: no prompt for {_some(extra)}: add their lines, or take the files out")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
