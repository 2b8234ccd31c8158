"""Videos side by side: a row of original, model and base model for each clip, as one mp4 and one picture."""

import math
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from matrix_train.files import whole
from matrix_train.generate.mp4 import write_mp4

Video = NDArray[np.uint8]
"""RGB [T, H, W, 3]."""

WIDEST = 240
"""Pixels of a video in the grid."""
BAND, GAP = 22, 6
PAPER, INK = (24, 27, 32), (235, 237, 240)


def read_mp4(path: Path) -> Video:
    """All frames."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_grid(rows: Sequence[tuple[str, dict[str, Video]]], file: Path, fps: float) -> None:
    """rows: of each clip its key and videos by label, all of one length and size. `file`: the mp4; a PNG beside it has
    the first, middle and last frame, one below the other where there are few rows."""
    clips = [_row(key, videos) for key, videos in rows]
    across = max(1, round(math.sqrt(len(clips) / 2)))
    blank = np.full_like(clips[0], PAPER[0])
    padded = [*clips, *[blank] * (-len(clips) % across)]
    lines = [np.concatenate(padded[i : i + across], axis=2) for i in range(0, len(padded), across)]
    page = np.concatenate(lines, axis=1)
    page = page[:, : page.shape[1] // 2 * 2, : page.shape[2] // 2 * 2]
    write_mp4(file, page, fps)
    shown = page[[0, len(page) // 2, -1]] if len(lines) <= 2 else page[len(page) // 2][None]
    with whole(file.with_suffix(".png")) as scratch:
        Image.fromarray(np.concatenate(list(shown))).save(scratch, format="PNG")


def _row(key: str, videos: dict[str, Video]) -> Video:
    height, width = next(iter(videos.values())).shape[1:3]
    scale = min(1.0, WIDEST / width)
    size = round(width * scale), round(height * scale)
    parts = []
    for label, video in videos.items():
        small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in video])
        framed = np.pad(small, ((0, 0), (BAND, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER[0])
        for frame in framed:
            said = f"{key[:8]} {label}"
            cv2.putText(frame, said, (GAP, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
        parts.append(framed)
    return np.concatenate(parts, axis=2)
