"""A clip as the report plays it: a frame for each frame of tokens, what each word attends to there, and the masks.

A map is shown as bytes, 255 the largest of the word in this clip, whose value stands beside it. Values are shares of
attention: 1 is all that a place (v2t), or the thing that the word means (v2v), has to give.
"""

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from matrix_train.analyze.clips import Clip
from matrix_train.attention.maps import Direction
from matrix_train.attention.roles import Family
from schemas.palette import colour

Shown = dict[str, Any]
"""What the page's script reads, as JSON."""

FAMILY_KIND: dict[Family, Direction] = {"sga": "v2t", "spa": "v2v"}
WIDTH, QUALITY = 320, 70
SCALE = 1000
"""Outlines are in thousandths of width and height."""
SLACK = 1.0
"""Pixels by which an outline may be off."""


def draw_clip(clip: Clip, maps: Mapping[Direction, NDArray[np.float32]]) -> Shown:
    """maps: by kind [R, F, h, w]."""
    batch, lattice = clip.batch, clip.aim.cells.shape[2:]
    video = batch.video[0].permute(0, 2, 3, 1).numpy()
    factor = (len(video) - 1) // max(1, lattice[0] - 1)
    taken = [factor * i for i in range(lattice[0])]
    tracks = dict(zip(batch.ids[0], batch.masks[0].bool().numpy(), strict=False))
    words = []
    for r, role in enumerate(clip.roles):
        act = batch.interactions[0][role.interaction]
        own = {"subject": [act.subject], "object": [act.object]}.get(role.role, [act.subject, act.object])
        union = np.logical_or.reduce([tracks[name] for name in own])
        words.append({
            "words": role.words or role.role, "role": role.role, "interaction": role.interaction,
            "colour": "#{:02x}{:02x}{:02x}".format(*colour(own[0])) if len(own) == 1 else "#f2f2f2",
            "outlines": [outlines(union[t]) for t in taken],
            "maps": {kind: as_bytes(maps[kind][r]) for kind in maps if kind in role.kinds},
            "most": {kind: float(maps[kind][r].max()) for kind in maps if kind in role.kinds},
        })  # fmt: skip
    return {
        "clip": batch.keys[0], "caption": batch.captions[0], "fps": batch.fps[0] / factor if factor else 1.0,
        "lattice": list(lattice), "size": list(video.shape[1:3]), "words": words,
        "frames": [jpeg(video[t]) for t in taken],
    }  # fmt: skip


def as_bytes(map_: NDArray[np.float32]) -> str:
    """[F, h, w] as base64, row by row, frame by frame."""
    most = float(map_.max())
    scaled = np.round(255 * map_ / most) if most > 0 else np.zeros_like(map_)
    return base64.b64encode(scaled.astype(np.uint8).tobytes()).decode()


def jpeg(frame: NDArray[np.uint8]) -> str:
    """RGB [H, W, 3] as a data: URI, WIDTH pixels wide at most."""
    height, width = frame.shape[:2]
    if width > WIDTH:
        frame = cv2.resize(frame, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def outlines(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Closed lines x, y, x, y, … in SCALE parts of width and height."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    height, width = mask.shape
    lines = [cv2.approxPolyDP(line, SLACK, True).reshape(-1, 2) + 0.5 for line in found]
    return [np.round(line * SCALE / (width, height)).astype(int).ravel().tolist() for line in lines if len(line) > 2]
