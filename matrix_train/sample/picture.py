"""A job's picture and whose pixels are whose: read, checked, and cut to the size of the video."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pycocotools import mask as coco

from matrix_train.data.geometry import Geometry
from matrix_train.errors import UserError
from matrix_train.sample.job import Job, Mask, check_count
from matrix_train.sample.trackers import Trackers
from schemas import MaskRle
from schemas.idmap import id_map, palette_indices
from schemas.palette import PALETTE
from schemas.rle import fill, run_lengths
from schemas.text import one_line

MOST_PIXELS = 64 * 2**20
"""Of a picture."""

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """H, W: pixels of the image as it was given."""

    image: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    sha256: str
    """Of its pixels."""
    masks: Mapping[str, Masks]
    """[1 or T, H, W] by ID: of the first frame, or of every frame of the video."""

    @property
    def indices(self) -> NDArray[np.uint8]:
        """The ID map: palette indices [H, W]."""
        return id_map({name: masks[0] for name, masks in self.masks.items()}, *self.image.shape[:2])

    def cut(self, geometry: Geometry) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First frame and ID map, both RGB [height, width, 3]."""
        colours = np.array(PALETTE, dtype=np.uint8)
        return geometry.video(self.image[None])[0], colours[geometry.labels(self.indices)]

    def rles(self) -> dict[str, list[str | None]]:
        """The masks as a job may give them."""
        return {name: [encode(mask) for mask in masks] for name, masks in self.masks.items()}


def read_picture(job: Job, trackers: Trackers) -> Picture:
    """UserError for a picture, an ID map or masks that cannot be used."""
    image = read_image(Path(job.image))
    height, width = image.shape[:2]
    if job.idmap is not None:
        masks = _of_map(Path(job.idmap), height, width)
    elif job.masks is not None:
        tracks = {name: given if isinstance(given, tuple) else (given,) for name, given in job.masks.items()}
        masks = {
            name: np.stack([_decode(name, mask, height, width) for mask in track]) for name, track in tracks.items()
        }
    else:
        masks = {name: mask[None] for name, mask in trackers.masks(image, job.boxes, job.points).items()}
    try:
        check_count(masks.keys())
    except ValueError as error:
        raise UserError(str(error)) from None
    if not masks:
        raise UserError("the ID map shows nobody: give it at least one ID in its colour")
    for name, found in masks.items():
        if not found.any():  # a track may begin later
            raise UserError(f"the mask of {name} is empty: give one that shows it, or leave {name} out")
    return Picture(image, pixels_sha256(image), masks)


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB [H, W, 3], turned as its camera says. UserError."""
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        with Image.open(path, formats=["PNG", "JPEG", "WEBP", "BMP"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"image {path}: not a readable picture: {one_line(error, 200)}: give a PNG or JPEG") from None


def pixels_sha256(image: NDArray[np.uint8]) -> str:
    """Of a picture, however its file is compressed."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def encode(mask: NDArray[np.bool_]) -> str | None:
    """COCO RLE; None for an empty one."""
    if not mask.any():
        return None
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def _of_map(path: Path, height: int, width: int) -> dict[str, Masks]:
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (width, height):
                size = "x".join(map(str, image.size))
                raise UserError(f"ID map {path} is {size}, its image {width}x{height}: make it of the image's size")
            image.load()
            indices = palette_indices(image)
    except ValueError as error:
        raise UserError(
            f"ID map {path} {error}: save it as a palette PNG, without smoothing, as `matrix_train idmap` does"
        ) from None
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"ID map {path}: not a readable PNG: {one_line(error, 200)}") from None
    return {f"id{k}": (indices == k)[None] for k in np.unique(indices).tolist() if k}


def _decode(name: str, mask: Mask | None, height: int, width: int) -> Masks:
    if mask is None:
        return np.zeros((height, width), dtype=bool)
    counts = mask
    if isinstance(mask, MaskRle):
        if mask.size != (height, width):
            raise UserError(f"the mask of {name} is of size {list(mask.size)}, its image of [{height}, {width}]")
        counts = mask.counts
    try:
        return fill(run_lengths(str(counts), height, width), height, width)
    except ValueError as error:
        raise UserError(f"the mask of {name}: {error}") from None
