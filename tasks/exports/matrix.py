"""`--format matrix`: the layout that the authors' trainer reads (paper.md §7), and beside it what an import needs.

```
videos/000001.mp4                               the clip, byte for byte, with its own frame rate
mask_annotation/000001/<id1>/000.png …          one grey PNG a frame, 0 or 255; their trainer takes up to <id5>
mask_annotation/000001/merged/000.png …         all IDs as a palette image, the smaller on top; 000.png is the ID map
metadata.csv                                    video,prompt; the prompt has `<idK>` in front of each noun
samples/000001.json                             the entry's .json: ratings, spans, checks, provenance; not of theirs
```
"""

from collections.abc import Iterator
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas import Sample
from schemas.base import InstanceId
from schemas.idmap import encode_id_map, id_map
from schemas.palette import number
from tasks.exports.opening import Item
from tasks.exports.running import Line, Told, write_all
from tasks.exports.tables import write_table
from tasks.grammar.nouns import DETERMINERS, POSSESSIVES
from tasks.store.folder import Folder

LAST_ID = 5
"""The authors' trainer has words and masks for <id1> to <id5>."""


class Matrix:
    """A sample's number is its place in the export; samples with an ID above id5 are left out and leave a gap."""

    name: ClassVar[str] = "matrix"
    wanted: ClassVar[tuple[str, ...]] = ("mp4", "json", "tracks.json")
    block: ClassVar[int] = 32
    last_id: ClassVar[int] = LAST_ID

    def __init__(self, dest: Folder) -> None:
        self.dest = dest

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        for item in items:
            stem = f"{item.place:06d}"
            write_all(self.dest, dict(_pictures(item, f"mask_annotation/{stem}")))
            self.dest.write(f"videos/{stem}.mp4", item.mp4)
            self.dest.write(f"samples/{stem}.json", item.files["json"])
            yield {"video": f"{stem}.mp4", "prompt": prompt(item.sample)}

    def close(self, told: Told) -> None:
        rows = ((line["video"], line["prompt"]) for line in told.lines())
        write_table(self.dest, "metadata.csv", ("video", "prompt"), rows, as_it_is=True)


def _pictures(item: Item, folder: str) -> Iterator[tuple[str, bytes]]:
    height, width = item.tracks.size
    names = list(item.tracks.tracks)
    for frame, masks in enumerate(zip(*(item.masks(name) for name in names), strict=True)):
        for name, mask in zip(names, masks, strict=True):
            yield f"{folder}/<{name}>/{frame:03d}.png", _grey(mask)
        merged = id_map(dict(zip(names, masks, strict=True)), height, width)
        yield f"{folder}/merged/{frame:03d}.png", encode_id_map(merged)


def _grey(mask: NDArray[np.bool_]) -> bytes:
    done, data = cv2.imencode(".png", mask.view(np.uint8) * 255)
    assert done
    return bytes(data)


def prompt(sample: Sample) -> str:
    """The caption with `<idK> ` in front of every noun that stands for an ID, behind its article."""
    places: set[tuple[int, InstanceId]] = set()
    for act in sample.interactions:
        for name, spans in ((act.subject, act.spans.subject), (act.object, act.spans.object)):
            text = sample.caption[spans[0].start : spans[0].end]
            first, space, rest = text.partition(" ")
            article = space and rest and first.lower() in DETERMINERS | POSSESSIVES
            places.add((spans[0].start + (len(first) + 1 if article else 0), name))
    told, at = [], 0
    for place, name in sorted(places, key=lambda found: (found[0], number(found[1]))):
        told += [sample.caption[at:place], f"<{name}> "]
        at = place
    return "".join([*told, sample.caption[at:]])
