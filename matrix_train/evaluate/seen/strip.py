"""The decisive frames of a judged video, small and side by side in one picture: what a sheet of the report shows."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from matrix_train.evaluate.protocol.prompt import Mask, Picture, Prompt, with_boxes
from matrix_train.evaluate.protocol.scores import Judged
from matrix_train.evaluate.seen.footage import Footage
from matrix_train.files import whole
from schemas.base import InstanceId
from schemas.rle import fill, run_lengths
from schemas.tracks import Rle

MOST = 5
"""Most frames of a strip."""

_WIDE, _HIGH = 200, 400
"""Most columns and rows of a frame in it: a JPEG has no more than 65 500 of either."""

Followed = Mapping[InstanceId, tuple[Rle | None, ...]]
"""By ID, a mask or None for every frame."""


def decisive(judged: Judged) -> list[int]:
    """The frames that decide, in order: those that decide most answers where there are more than `MOST`; and at least
    one in which something emerged or disappeared."""
    counts: dict[int, int] = {}
    for answers in judged.answers:
        for answer in answers:
            if answer.frame_index is not None:
                counts[answer.frame_index] = counts.get(answer.frame_index, 0) + 1
    odd = [check.frame_idx for check in judged.checks if check.emergence or check.disappearance][:1]
    most = sorted(counts.keys() - odd, key=lambda frame: -counts[frame])[: MOST - len(odd)]
    return sorted({*most, *odd})


def masks_at(tracks: Followed, frame: int, footage: Footage) -> dict[InstanceId, Mask]:
    """By ID, the masks [H, W] that are there in a frame."""
    height, width = footage.height, footage.width
    return {
        key: fill(run_lengths(rle, height, width), height, width)
        for key, rles in tracks.items()
        if (rle := rles[frame]) is not None
    }


def boxed(prompt: Prompt, footage: Footage, tracks: Followed, frame: int) -> Picture:
    """A frame with the boxes of the prompt's instances."""
    named = {i.id for i in prompt.instances}
    masks = masks_at({key: track for key, track in tracks.items() if key in named}, frame, footage)
    return with_boxes(footage.pictures[frame], masks)


def show(out: Path, prompt: Prompt, footage: Footage, tracks: Followed, judged: Judged) -> tuple[int, ...]:
    """Write the strip of a judged video; the frames that it shows. Answers from masks may be decided at a frame between
    those that are kept: the nearest of these is shown."""
    shown = {min(footage.pictures, key=lambda kept: abs(kept - frame)) for frame in decisive(judged)}
    write_strip(out, prompt.video, {frame: boxed(prompt, footage, tracks, frame) for frame in shown})
    return tuple(sorted(shown))


def strip_file(out: Path, video: str) -> Path:
    return out / "strips" / f"{video}.jpg"


def write_strip(out: Path, video: str, frames: Mapping[int, Picture]) -> None:
    """frames: by number, all of one size; their order is the strip's. None: no strip, not of an earlier run either."""
    path = strip_file(out, video)
    if not frames:
        path.unlink(missing_ok=True)
        return
    pictures = [Image.fromarray(frames[number]) for number in sorted(frames)]
    scale = min(_WIDE / pictures[0].width, _HIGH / pictures[0].height)
    size = (max(1, round(pictures[0].width * scale)), max(1, round(pictures[0].height * scale)))
    row = np.concatenate([np.asarray(picture.resize(size)) for picture in pictures], axis=1)
    with whole(path) as scratch:
        Image.fromarray(row).save(scratch, format="JPEG", quality=80)
