"""Frames as an mp4 whose bytes follow from them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from matrix_train.files import whole


def write_mp4(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """RGB uint8 [T, H, W, 3], H and W even, as H.264. The file appears whole or not at all."""
    # Slices go by the number of threads, which is the machine's unless it is said; x264's macroblock tree reads memory
    # that it has not written (docs/decisions/0005-x264-without-macroblock-tree.md).
    options = {"crf": "20", "threads": "1", "x264-params": "mbtree=0"}
    with whole(path) as scratch, av.open(str(scratch), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
