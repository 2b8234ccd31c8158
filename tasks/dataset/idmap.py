"""The first-frame ID map `I0` (paper §3): a palette image, every ID in its fixed colour (schemas/palette.py)."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.base import InstanceId
from schemas.palette import PALETTE, number

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


def decode_id_map(png: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Palette indices [H, W]. ValueError where this is no palette PNG of that size with our colours."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise ValueError(f"is {image.size[0]} x {image.size[1]}, not {width} x {height}")
            if image.mode != "P":
                raise ValueError("is no palette image")
            palette = bytes(image.getpalette() or [])
            indices = np.asarray(image, dtype=np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError("is no readable PNG") from error
    shown = int(indices.max()) * 3 + 3
    if palette[:shown] != _FLAT[:shown]:
        raise ValueError("has other colours than the palette's")
    return indices
