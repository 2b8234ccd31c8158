"""Small source videos whose frames say their own number: eight bright or dark blocks in the middle, as bits."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8


def picture(number: int, width: int = 320, height: int = 240, tint: int = 40) -> NDArray[np.uint8]:
    """RGB frame `number`: a row of blocks over the middle half of the width, red marker in the top left corner."""
    image = np.full((height, width, 3), tint, np.uint8)
    image[: height // 4, : width // 4] = (220, 30, 30)
    left, block = width // 4, width // 2 // BITS
    for bit in range(BITS):
        value = 235 if number >> bit & 1 else 20
        image[height * 3 // 8 : height * 5 // 8, left + bit * block : left + (bit + 1) * block] = value
    return image


def number_of(image: NDArray[np.uint8], left: float, block: float) -> int:
    """The number in a frame whose blocks start at `left` and are `block` pixels wide, in its own pixels."""
    row = image[image.shape[0] // 2, :, :].mean(axis=-1)
    return sum(int(row[int(left + (bit + 0.5) * block)] > 127) << bit for bit in range(BITS))


def write(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    times: Sequence[Fraction] | None = None,
    fps: int = 12,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotate: int = 0,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Encode pictures at `fps`, or at the given times in seconds. `rotate`: degrees to turn clockwise for display."""
    with av.open(str(path), "w", options=muxer or {}) as out:
        stream = out.add_stream(codec, rate=fps, options=options or {"preset": "ultrafast", "crf": "12"})
        base = Fraction(1, 600) if times else Fraction(1, fps)
        first = True
        for i, image in enumerate(pictures):
            if first:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt, stream.codec_context.time_base, first = pixels, base, False
                stream.thread_count = 1
                if rotate:
                    stream.set_display_rotation(-rotate)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame.time_base, frame.pts = base, round((times[i] if times else Fraction(i, fps)) / base)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
