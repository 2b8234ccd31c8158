"""Read and write the normalised clips: the one place that knows PyAV's encoder settings and COCO's run lengths."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from schemas.tracks import Rle


def read_frames(path: str | Path) -> NDArray[np.uint8]:
    """All frames of a normalised clip: RGB uint8 [T, H, W, 3]. Raises OSError or av.FFmpegError."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def encode_mask(mask: NDArray[np.bool_]) -> Rle | None:
    """COCO compressed RLE of a binary mask [H, W]; None when it is empty."""
    if not mask.any():
        return None
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def decode_mask(rle: Rle | None, height: int, width: int) -> NDArray[np.bool_]:
    """Binary mask [H, W]; all False for None. Raises ValueError when the run lengths do not fill the size."""
    if rle is None:
        return np.zeros((height, width), dtype=bool)
    mask = coco.decode({"size": [height, width], "counts": rle.encode("ascii")})
    return np.asarray(mask, dtype=bool)
