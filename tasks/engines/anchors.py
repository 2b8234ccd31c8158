"""Where tracks begin: what every tracker makes of the anchors it is given, before it looks at a pixel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas import Anchor
from tasks.engines.base import Frames

Corners = NDArray[np.float32]
"""A box [4], `xyxy` in clip pixels."""


def boxes_within(frames: Frames, anchors: Sequence[Anchor]) -> list[Corners | None]:
    """The anchors' boxes cut to the frame; None where nothing is left of one.

    frames: [T, H, W, 3]. ValueError for an anchor on a frame that the clip does not have.
    """
    length, height, width = frames.shape[:3]
    found: list[Corners | None] = []
    for a in anchors:
        if a.frame >= length:
            raise ValueError(f"the anchor of {a.id} is on frame {a.frame} of a clip of {length}")
        x0, x1 = np.clip([a.box.x0, a.box.x1], 0, width)
        y0, y1 = np.clip([a.box.y0, a.box.y1], 0, height)
        found.append(np.array([x0, y0, x1, y1], dtype=np.float32) if x0 < x1 and y0 < y1 else None)
    return found
