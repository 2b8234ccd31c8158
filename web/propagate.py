"""The tracker asked again from one frame on, for one track, until a frame that a person has painted.

One at a time, in a thread; whoever started it can let it go at any moment. The engine cannot be stopped half way:
what it gives after that is thrown away.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from schemas import Anchor, Box, Rle
from schemas.text import one_line
from tasks.engines.base import Tracker

log = logging.getLogger(__name__)


@dataclass
class Job:
    """A propagation that was asked for. `masks` begin with the frame after `frame`."""

    clip: str
    reviewer: str
    id: str
    frame: int
    end: int
    masks: tuple[Rle | None, ...] | None = None
    error: str = ""
    cancelled: bool = False
    done: threading.Event = field(default_factory=threading.Event)


def barrier(frame: int, frames: int, locked: Sequence[int]) -> int:
    """The frame before which to stop: the next one that was painted by hand, or the end of the clip."""
    return min((t for t in locked if t > frame), default=frames)


def begin(
    job: Job, tracker: Callable[[], Tracker], frames_of: Callable[[], NDArray[np.uint8]], mask: Rle,
    size: tuple[int, int], turn: threading.Lock,
) -> None:  # fmt: skip
    """Start it. `mask` is the track's at `job.frame`; `turn` is held while the engine works."""
    x, y, w, h = (float(v) for v in coco.toBbox({"size": list(size), "counts": mask.encode("ascii")}))
    anchor = Anchor(id=job.id, frame=0, box=Box(x0=x, y0=y, x1=x + w, y1=y + h), score=1, confidence=1)

    def run() -> None:
        try:
            with turn:
                if not job.cancelled:
                    (track,) = tracker().propagate(frames_of()[job.frame : job.end], [anchor])
                    job.masks = track.masks[1:]
        except Exception as error:  # the thread's edge: whatever went wrong, the person who waits is told
            log.exception("the tracker failed on %s of clip %s", job.id, job.clip)
            job.error = f"the tracker failed: {one_line(str(error) or repr(error), 300)}"
        finally:
            job.done.set()

    threading.Thread(target=run, name="propagate", daemon=True).start()
