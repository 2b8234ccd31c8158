"""`--format coco`: COCO-video as YouTube-VIS reads it: JPEG frames, and one JSON per split with RLE masks per frame.

Layout and fields are those of YouTube-VIS (Yang et al., "Video Instance Segmentation", ICCV 2019): `videos` with
`file_names`, `annotations` with one entry a frame in `segmentations`, `bboxes` (x, y, width, height) and `areas`, null
where nothing is visible. Categories are the class nouns, in the order of the alphabet. What YouTube-VIS has no field
for (caption, interactions, ID) stands under names of our own, which its reader passes over.
"""

import io
import itertools
import json
from collections.abc import Iterator
from typing import IO, Any, ClassVar

from PIL import Image
from pycocotools import mask as rle

from schemas import MaskRle
from schemas.palette import LAST
from tasks.exports.opening import Item
from tasks.exports.running import Line, Told, write_all
from tasks.media.clips import read_frames
from tasks.store.folder import Folder

QUALITY = 95
"""Of the JPEGs. The masks were made on the mp4's frames; at 95 the difference is not seen."""


class Coco:
    """`<split>/JPEGImages/<clip>/00000.jpg` and `<split>.json`."""

    name: ClassVar[str] = "coco"
    wanted: ClassVar[tuple[str, ...]] = ("mp4", "json", "tracks.json")
    block: ClassVar[int] = 32
    last_id: ClassVar[int] = LAST

    def __init__(self, dest: Folder) -> None:
        self.dest = dest

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        for item in items:
            row, sample = item.row, item.sample
            names = [f"{row.key}/{frame:05d}.jpg" for frame in range(row.frames)]
            frames = read_frames(io.BytesIO(item.mp4))
            if frames.shape[:3] != (row.frames, row.height, row.width):
                raise item.damaged(".mp4 has other frames than the index says")
            pictures = {f"{row.split}/JPEGImages/{n}": _jpeg(f) for n, f in zip(names, frames, strict=True)}
            write_all(self.dest, pictures)
            yield {
                "split": row.split,
                "video": {
                    "file_names": names, "width": row.width, "height": row.height, "length": row.frames,
                    "fps": row.fps, "clip": row.key, "caption": row.caption, "license": row.license or "not stated",
                    "uri": row.uri, "interactions": [a.model_dump(mode="json") for a in sample.interactions],
                },
                "tracks": [_track(item, i.id, i.cls) for i in sample.instances],
            }  # fmt: skip

    def close(self, told: Told) -> None:
        classes = sorted({track["class"] for line in told.lines() for track in line["tracks"]})
        licences = sorted({line["video"]["license"] for line in told.lines()})
        for split in sorted({line["split"] for line in told.lines()}):

            def mine(split: str = split) -> Iterator[Line]:
                return (line for line in told.lines() if line["split"] == split)

            with self.dest.create(f"{split}.json") as stream:
                about = f"{told.plan['format']} export of the dataset with index.parquet sha256:{told.plan['dataset']}"
                head = {
                    "info": {"description": about},
                    "licenses": [{"id": n, "name": name, "url": ""} for n, name in enumerate(licences, 1)],
                    "categories": [
                        {"id": n, "name": name, "supercategory": "object"} for n, name in enumerate(classes, 1)
                    ],
                }
                stream.write(json.dumps(head, ensure_ascii=False)[:-1].encode())
                _array(stream, "videos", _videos(mine(), licences))
                _array(stream, "annotations", _annotations(mine(), classes))
                stream.write(b"}\n")


def _jpeg(frame: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _track(item: Item, name: str, cls: str) -> dict[str, Any]:
    for _ in item.masks(name):  # every run length is checked before others read them
        pass
    masks = item.tracks.tracks[name]
    return {
        "instance": name,
        "class": cls,
        "segmentations": [m and m.model_dump(mode="json") for m in masks],
        "bboxes": [m and [float(v) for v in rle.toBbox(_coco(m))] for m in masks],
        "areas": [m and int(rle.area(_coco(m))) for m in masks],
    }


def _coco(mask: MaskRle) -> dict[str, Any]:
    return {"size": list(mask.size), "counts": mask.counts.encode("ascii")}


def _videos(lines: Iterator[Line], licences: list[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        video = line["video"]
        yield {"id": number, **video, "license": licences.index(video["license"]) + 1}


def _annotations(lines: Iterator[Line], classes: list[str]) -> Iterator[dict[str, Any]]:
    numbers = itertools.count(1)
    for video, line in enumerate(lines, 1):
        size = {key: line["video"][key] for key in ("width", "height", "length")}
        for track in line["tracks"]:
            category = classes.index(track.pop("class")) + 1
            yield {"id": next(numbers), "video_id": video, "category_id": category, "iscrowd": 0, **size, **track}


def _array(stream: IO[bytes], name: str, values: Iterator[dict[str, Any]]) -> None:
    """`, "name": [...]`, a value in memory at a time."""
    stream.write(f', "{name}": ['.encode())
    for n, value in enumerate(values):
        stream.write((", " * bool(n) + json.dumps(value, ensure_ascii=False)).encode())
    stream.write(b"]")
