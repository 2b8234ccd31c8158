"""The first-frame ID map `I0` (paper §3): a palette image, every ID in its fixed colour (schemas/palette.py)."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.base import InstanceId
from schemas.palette import PALETTE, number

Indices = NDArray[np.uint8]
"""Palette indices [H, W]: 0 is the background, k is `id<k>`."""

_COLOURS = np.array(PALETTE, dtype=np.int64)
_FLAT = bytes(channel for rgb in PALETTE for channel in rgb)


def id_map(masks: Mapping[InstanceId, NDArray[np.bool_]], height: int, width: int) -> NDArray[np.uint8]:
    """Palette indices [H, W]: 0 is background, k is `id<k>`. Where masks overlap, the smaller one is on top.

    So a held cup stays visible on the person who holds it. Of two masks of one size, the lower ID is on top.
    """
    image = np.zeros((height, width), dtype=np.uint8)
    for name in sorted(masks, key=lambda k: (-int(np.count_nonzero(masks[k])), -number(k))):
        image[masks[name]] = number(name)
    return image


def encode_id_map(indices: NDArray[np.uint8]) -> bytes:
    """Palette PNG of indices [H, W]. Same indices, same bytes for one Pillow and zlib."""
    image = Image.fromarray(indices)
    image.putpalette(_FLAT)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode_id_map(png: bytes, height: int | None = None, width: int | None = None) -> NDArray[np.uint8]:
    """Palette indices [H, W]. ValueError where this is no palette PNG of that size, if it is said, in our colours."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if height and image.size != (width, height):
                raise ValueError(f"is {image.size[0]} x {image.size[1]}, not {width} x {height}")
            if image.mode != "P":
                raise ValueError("is no palette image")
            return palette_indices(image)
    except (OSError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError("is no readable PNG") from error


def palette_indices(image: Image.Image) -> Indices:
    """Of a palette image or an RGB one in our colours. ValueError naming the first pixel that has another."""
    if image.mode == "P":
        pixels = np.asarray(image, dtype=np.uint8)
        theirs = np.array(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
        same = np.zeros(256, dtype=bool)
        common = min(len(theirs), len(_COLOURS))
        same[:common] = (theirs[:common] == _COLOURS[:common]).all(axis=1)
        wrong = ~same[pixels]
        indices = pixels
    elif image.mode == "RGB":
        codes, known = np.asarray(image).astype(np.int64) @ (65536, 256, 1), _COLOURS @ (65536, 256, 1)
        rank = np.argsort(known)
        indices = rank[np.searchsorted(known, codes, sorter=rank).clip(max=len(known) - 1)].astype(np.uint8)
        wrong = known[indices] != codes
    else:
        raise ValueError(f"is of mode {image.mode}, neither palette nor RGB")
    if wrong.any():
        y, x = (int(place[0]) for place in np.nonzero(wrong))
        shown = image.convert("RGB").getpixel((x, y))
        raise ValueError(f"has other colours than the palette's, first {shown} at {x}, {y}")
    return indices
