"""`--format sav`: the layout of SA-V's training set: an mp4 and a `<video>_manual.json` with COCO RLE a video.

Fields are those of SA-V's own README (Ravi et al., "SAM 2", 2024). A frame in which an ID is not visible has the
RLE of an empty mask, as SA-V's own reader decodes every entry. SA-V is annotated at 6 of 24 frames a second; here every
frame has its masks, so a reader takes a sample rate of 1 (`SAVDataset(folder, annot_sample_rate=1)`, `ann_every: 1`).
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as rle

from schemas.base import InstanceId
from schemas.palette import LAST, number
from tasks.exports.opening import Item
from tasks.exports.running import Line, Told
from tasks.store.folder import Folder

BUCKETS = ((32**2, "small"), (96**2, "medium"))
"""SA-V's sizes, in pixels of mean area below which they hold; beyond them `large`."""


class Sav:
    """`sav_<split>/<clip>.mp4`, `sav_<split>/<clip>_manual.json` and `sav_<split>.txt`."""

    name: ClassVar[str] = "sav"
    wanted: ClassVar[tuple[str, ...]] = ("mp4", "json", "tracks.json")
    block: ClassVar[int] = 64
    last_id: ClassVar[int] = LAST

    def __init__(self, dest: Folder) -> None:
        self.dest = dest

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        for item in items:
            stem = f"sav_{item.row.split}/{item.row.key}"
            self.dest.write(f"{stem}.mp4", item.mp4)
            self.dest.write(f"{stem}_manual.json", json.dumps(annotation(item), ensure_ascii=False).encode())
            yield {"key": item.row.key, "split": item.row.split}

    def close(self, told: Told) -> None:
        for split in sorted({line["split"] for line in told.lines()}):
            with self.dest.create(f"sav_{split}.txt") as stream:
                stream.writelines(f"{line['key']}\n".encode() for line in told.lines() if line["split"] == split)


def annotation(item: Item) -> dict[str, Any]:
    """What `<clip>_manual.json` holds."""
    row, names = item.row, list(item.tracks.tracks)
    empty = rle.encode(np.zeros((row.height, row.width), np.uint8, order="F"))["counts"].decode("ascii")
    size = [row.height, row.width]
    areas = {name: [int(np.count_nonzero(mask)) for mask in item.masks(name)] for name in names}
    means = [float(np.mean([area for area in areas[name] if area] or [0])) for name in names]
    masks = [item.tracks.tracks[name] for name in names]
    return {
        "video_id": row.key,
        "video_duration": row.frames / row.fps,
        "video_frame_count": float(row.frames),
        "video_height": float(row.height),
        "video_width": float(row.width),
        "video_resolution": float(row.height * row.width),
        "video_environment": "",
        "video_split": row.split,
        "masklet": [
            [{"size": size, "counts": m.counts if m else empty} for m in frame] for frame in zip(*masks, strict=True)
        ],
        "masklet_id": [number(name) for name in names],
        "masklet_size_rel": [mean / (row.height * row.width) for mean in means],
        "masklet_size_abs": means,
        "masklet_size_bucket": [next((name for below, name in BUCKETS if mean < below), "large") for mean in means],
        "masklet_visibility_changes": [_changes(areas[name]) for name in names],
        "masklet_first_appeared_frame": [_first(areas[name]) for name in names],
        "masklet_frame_count": [row.frames] * len(names),
        "masklet_edited_frame_count": [0] * len(names),
        "masklet_type": ["manual"] * len(names),
        "masklet_stability_score": None,
        "masklet_num": len(names),
        "caption": row.caption,
        "masklet_noun": _nouns(item, names),
        "interactions": [a.model_dump(mode="json") for a in item.sample.interactions],
        "license": row.license,
        "uri": row.uri,
    }


def _first(areas: list[int]) -> int:
    return next((frame for frame, area in enumerate(areas) if area), 0)


def _changes(areas: list[int]) -> int:
    """How often it comes or goes after it was first seen."""
    seen = [area > 0 for area in areas[_first(areas) :]]
    return sum(a != b for a, b in itertools.pairwise(seen))


def _nouns(item: Item, names: list[InstanceId]) -> list[str]:
    nouns = {i.id: i.noun for i in item.sample.instances}
    return [nouns[name] for name in names]
