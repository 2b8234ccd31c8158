"""`--format hf`: a folder for Hugging Face's hub: whole entries in tars, and a card made from what they hold.

`datasets.load_dataset(folder)` and plain webdataset read it without our code; the card declares the columns.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

from schemas.dataset import SUFFIXES, Split
from schemas.palette import LAST
from tasks.dataset.tar import TarWriter
from tasks.exports.hub_card import hub_card
from tasks.exports.opening import Item
from tasks.exports.running import Line, Told
from tasks.store.folder import Folder


class Hub:
    """`data/<split>-00000.tar` a block and split, and `README.md`. audit: what `matrix_data audit` found, if it has."""

    name: ClassVar[str] = "hf"
    wanted: ClassVar[tuple[str, ...]] = SUFFIXES
    block: ClassVar[int] = 256
    last_id: ClassVar[int] = LAST

    def __init__(self, dest: Folder, audit: dict[str, Any] | None = None) -> None:
        self.dest, self.audit = dest, audit

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        tars: dict[Split, TarWriter] = {}
        with ExitStack() as ends:
            for item in items:
                row, sample = item.row, item.sample
                if row.split not in tars:
                    name = f"data/{row.split}-{(item.place - 1) // self.block:05d}.tar"
                    tars[row.split] = ends.enter_context(TarWriter(ends.enter_context(self.dest.create(name))))
                files = {**item.files, "mp4": item.mp4}
                for suffix in SUFFIXES:
                    tars[row.split].add(f"{row.key}.{suffix}", files[suffix])
                origin = sample.provenance
                made = {"models": origin.models, "prompts": origin.prompts, "captions": origin.caption_by}
                yield {"row": row.model_dump(mode="json"), "made": made}

    def close(self, told: Told) -> None:
        self.dest.write("README.md", hub_card(told, self.audit).encode())
