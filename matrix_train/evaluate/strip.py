"""The decisive frames of a judged video, small and side by side in one picture: what a sheet of the report shows."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from matrix_train.evaluate.protocol import Picture
from matrix_train.evaluate.scores import Judged
from matrix_train.files import whole

MOST = 5
"""Most frames of a strip."""

_WIDE = 200
"""Columns of a frame in it."""


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


def strip_file(out: Path, video: str) -> Path:
    return out / "strips" / f"{video}.jpg"


def write_strip(out: Path, video: str, frames: Mapping[int, Picture]) -> None:
    """frames: by number, all of one size; their order is the strip's. None: no strip, not of an earlier run either."""
    path = strip_file(out, video)
    if not frames:
        path.unlink(missing_ok=True)
        return
    pictures = [Image.fromarray(frames[number]) for number in sorted(frames)]
    size = (_WIDE, round(_WIDE * pictures[0].height / pictures[0].width))
    row = np.concatenate([np.asarray(picture.resize(size)) for picture in pictures], axis=1)
    with whole(path) as scratch:
        Image.fromarray(row).save(scratch, format="JPEG", quality=80)
