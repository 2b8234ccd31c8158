"""Images as a model behind a server gets them: bounded, never too thin, JPEG bytes that are the same in every run."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas import Box
from tasks.engines.base import Frames

Picture = NDArray[np.uint8]
"""RGB uint8 [H, W, 3]."""

MARK = (255, 0, 255)
LEAST_SIDE = 56
"""Vision encoders refuse images thinner than one or two of their patches of 28 pixels; those are padded with grey."""

MOST_ENLARGED = 4.0


def bounded(picture: Picture, side: int) -> Picture:
    """Shrunk so that the longer side has at most `side` pixels; as it is where it has."""
    return _scaled(picture, min(1.0, side / max(picture.shape[:2])))


def close_up(crop: Picture, side: int) -> Picture:
    """A crop with its longer side at `side` pixels, enlarged at most fourfold, padded with grey where it is thin."""
    scaled = _scaled(crop, min(MOST_ENLARGED, side / max(crop.shape[:2])))
    height, width = scaled.shape[:2]
    down, right = max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width)
    return np.pad(scaled, ((0, down), (0, right), (0, 0)), constant_values=128)


def marked(frame: Picture, box: Box) -> Picture:
    """A copy of the frame with the box drawn around in a colour that scenes hardly have."""
    image = Image.fromarray(frame)
    line = max(2, round(max(frame.shape[:2]) / 240))
    corners = (box.x0 - line, box.y0 - line, box.x1 + line - 1, box.y1 + line - 1)
    ImageDraw.Draw(image).rectangle(corners, outline=MARK, width=line)
    return np.asarray(image)


def contact_sheet(frames: Frames, times: Sequence[float], columns: int, side: int) -> Picture:
    """Frames [T, H, W, 3] in rows of `columns`, each with its time in seconds burnt in; as large as one frame is sent.

    side: most pixels of the sheet's longer side. What is left of the last row is grey.
    """
    cells = [_timed(bounded(frame, side // columns), time) for frame, time in zip(frames, times, strict=True)]
    height, width = cells[0].shape[:2]
    sheet = np.full((-(-len(cells) // columns) * height, columns * width, 3), 128, np.uint8)
    for k, cell in enumerate(cells):
        row, column = divmod(k, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = cell
    return bounded(sheet, side)


def _timed(picture: Picture, time: float) -> Picture:
    image = Image.fromarray(picture)
    size = max(10, picture.shape[0] // 9)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text(
        (3, 1), f"{time:.1f} s", "white", font, stroke_width=max(1, size // 8), stroke_fill="black"
    )
    return np.asarray(image)


def jpeg(picture: Picture, quality: int) -> bytes:
    """JPEG bytes without metadata."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()


def _scaled(picture: Picture, factor: float) -> Picture:
    height, width = picture.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
