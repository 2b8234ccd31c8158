"""`--format csv`: three tables that any spreadsheet or data frame reads; no pixels and no masks."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from schemas.dataset import IndexRow
from schemas.palette import LAST
from tasks.exports.opening import Item
from tasks.exports.running import Line, Told
from tasks.store.folder import Folder

COLUMNS = {
    "clips": (
        "key", "split", "caption", "width", "height", "frames", "fps", "instances", "interactions", "dataset",
        "license", "uri", "source_digest", "media_digest", "group",
    ),
    "interactions": (
        "key", "subject", "subject_noun", "verb", "object", "object_noun", "type", "contact", "dynamism",
        "confidence", "explanation", "source_sentence", "verb_start", "verb_end",
    ),
    "instances": (
        "key", "id", "class", "noun", "appearance", "place", "visible_share", "side", "anchor_frame", "anchor_x0",
        "anchor_y0", "anchor_x1", "anchor_y1", "anchor_score", "anchor_confidence",
    ),
}  # fmt: skip
"""Columns of `<table>.csv`."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that spreadsheets work out on opening."""


class Csv:
    """Rows in the order of the shards; UTF-8, commas, text in quotes, and none that is a formula (`write_table`)."""

    name: ClassVar[str] = "csv"
    wanted: ClassVar[tuple[str, ...]] = ("json",)
    block: ClassVar[int] = 512
    last_id: ClassVar[int] = LAST

    def __init__(self, dest: Folder) -> None:
        self.dest = dest

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        for item in items:
            yield {"clips": [_clip(item.row)], "interactions": _interactions(item), "instances": _instances(item)}

    def close(self, told: Told) -> None:
        for table, columns in COLUMNS.items():
            write_table(self.dest, f"{table}.csv", columns, (row for line in told.lines() for row in line[table]))


def write_table(
    dest: Folder, name: str, columns: tuple[str, ...], rows: Iterable[Iterable[Any]], as_it_is: bool = False
) -> None:
    """A CSV with a head, a row in memory at a time.

    Text that a spreadsheet would take for a formula gets an apostrophe in front, for captions and names come from
    outside (OWASP, CSV injection). as_it_is: it does not, for a table that programs read back.
    """
    with dest.create(name) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        # All text in quotes: of what needs them the writer overlooks a carriage return.
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(columns)
        writer.writerows(rows if as_it_is else (map(_harmless, row) for row in rows))
        text.detach()  # flushes, and leaves the stream to who made it


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _clip(row: IndexRow) -> list[Any]:
    data = row.model_dump(mode="json")
    return [data[column] for column in COLUMNS["clips"]]


def _interactions(item: Item) -> list[list[Any]]:
    nouns = {i.id: i.noun for i in item.sample.instances}
    return [
        [
            item.row.key, a.subject, nouns[a.subject], a.verb, a.object, nouns[a.object], a.type, a.rating.contact,
            a.rating.dynamism, a.rating.confidence, a.rating.explanation, a.source_sentence, a.spans.verb[0].start,
            a.spans.verb[-1].end,
        ]
        for a in item.sample.interactions
    ]  # fmt: skip


def _instances(item: Item) -> list[list[Any]]:
    numbers, anchors = {n.id: n for n in item.sample.numbers}, {a.id: a for a in item.sample.anchors}
    found = []
    for one in item.sample.instances:
        measured, anchor = numbers.get(one.id), anchors.get(one.id)
        row: list[Any] = [item.row.key, one.id, one.cls, one.noun, one.app, one.spatial]
        row += [measured.visible_share, measured.side] if measured else [None] * 2
        if anchor:
            box = anchor.box
            row += [anchor.frame, box.x0, box.y0, box.x1, box.y1, anchor.score, anchor.confidence]
        found.append(row if anchor else row + [None] * 7)
    return found
