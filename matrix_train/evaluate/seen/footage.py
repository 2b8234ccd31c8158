"""A video as a judge gets it: decoded once, one frame after the other; kept are those that are looked at, or all.

Videos come from anywhere, so that a child process with limits reads them (`decoding.py`, tasks/ingest/sandbox.py).

Beside it go three plain measures of any video, whatever it shows, on frames shrunk to `WIDE` columns:

smoothness   1 − the mean difference between a frame and the mean of its two neighbours, as a share of full scale: 1 for
             a still or an even fade, less where things jump (the idea of VBench's motion smoothness, without a model)
dynamics     the mean over pairs of frames of the largest 5 % of optical flow (Farnebäck, "Two-frame motion estimation
             based on polynomial expansion", 2003), in widths of the picture a second
sharpness    the mean variance of the Laplacian of the frames, of grey values from 0 to 255 (Pech-Pacheco et al.,
             "Diatom autofocusing in brightfield microscopy", 2000)
"""

import os
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from matrix_train.evaluate.protocol.prompt import Picture, chosen_frames
from schemas.base import Record
from tasks.errors import InfrastructureError
from tasks.ingest import sandbox

WIDE = 160
"""Columns of the frames that are measured, so that videos of several sizes are measured alike."""

MOST_BYTES = 1 << 30
"""Of the frames of one video that are kept: 1036 of 480 x 720 pixels."""

LIMITS = sandbox.Limits(600, 4 << 30)
"""Of the child, which holds its frames some times over while it hands them on."""

CHILD = "matrix_train.evaluate.seen.decoding:watch"
HEADER = struct.Struct("!I")
"""Bytes of the report, which the frames follow."""


class Measures(Record):
    """As in the head of the file."""

    smoothness: float
    dynamics: float
    sharpness: float


MEASURES = tuple(Measures.model_fields)


class Order(Record):
    """What the child is asked."""

    path: str = Field(description="percent-encoded, since a path need not be text")
    whole: bool
    most_bytes: int


class Report(Record):
    """What the child answers; with a problem nothing else."""

    problem: str | None = None
    count: int = 0
    fps: float = 0
    height: int = 0
    width: int = 0
    kept: tuple[int, ...] = ()
    """Numbers of the frames that follow, RGB uint8 [H, W, 3] each."""
    measures: Measures | None = None


@dataclass(frozen=True)
class Footage:
    """The frames of one video."""

    count: int
    fps: float
    height: int
    width: int
    kept: tuple[int, ...]
    """Numbers of the frames that are kept: those of `chosen_frames`, and all of them where `whole` was asked."""
    frames: NDArray[np.uint8]
    """These, RGB [len(kept), H, W, 3]."""
    measures: Measures

    @cached_property
    def pictures(self) -> dict[int, Picture]:
        """The same by number."""
        return dict(zip(self.kept, self.frames, strict=True))

    @property
    def chosen(self) -> list[int]:
        return chosen_frames(self.count)


def watch(video: Path, whole: bool = False) -> Footage:
    """Every frame is decoded: what a container says of its length may be wrong. ValueError where the file holds no
    video, fewer than two frames or several sizes, cannot be decoded, or does more to the decoder than it may."""
    order = Order(path=quote(os.fsencode(video.absolute())), whole=whole, most_bytes=MOST_BYTES)
    try:
        reply = sandbox.run(CHILD, order.model_dump_json().encode(), LIMITS)
    except sandbox.ChildTimeout:
        raise ValueError(f"not decoded within {LIMITS.seconds:g} s: make it shorter or smaller") from None
    except sandbox.ChildMemory:
        raise ValueError(f"needs more than {LIMITS.memory_bytes >> 30} GiB of memory: make it smaller") from None
    except sandbox.ChildCrash as error:
        raise ValueError(f"the decoder died of {error}: encode it again") from None
    except (InfrastructureError, sandbox.ChildFailed) as error:
        raise ValueError(str(error)) from None
    (length,) = HEADER.unpack_from(reply)
    at = HEADER.size + length
    report = Report.model_validate_json(reply[HEADER.size : at])
    if report.measures is None:
        raise ValueError(report.problem)
    # A copy: the reply cannot be written to, which torch warns of, and is larger.
    frames = np.frombuffer(reply, np.uint8, offset=at).reshape(-1, report.height, report.width, 3).copy()
    return Footage(report.count, report.fps, report.height, report.width, report.kept, frames, report.measures)
