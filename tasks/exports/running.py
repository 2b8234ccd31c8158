"""One export: the chosen samples in blocks, each on record once its files stand, and last the files over all.

```
F/.export/plan.json      what is exported, so that nobody goes on with another's export
F/.export/00000.jsonl    a line a sample of the block: what the closing files will say of it, or why it was left out
F/export.json            written last; what F holds. `.export` goes then
```
A run that is killed leaves the blocks that it finished, and the next goes on behind them. Only a block's samples and
one entry are in memory. Local or bucket, all writes are whole or absent.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from schemas import Reason
from schemas.dataset import DatasetFile, IndexRow
from schemas.palette import number
from tasks.errors import UserError
from tasks.exports.choosing import read_filter
from tasks.exports.opening import Dataset, Item
from tasks.store.folder import TEMPORARY, Folder

EXPORT_FILE, WORK, PLAN, LEFT_OUT = "export.json", ".export", "plan.json", "left_out.csv"

Line = dict[str, Any]
"""What the closing files say of one sample, in plain JSON types."""


@dataclass(frozen=True)
class Told:
    """What the closing files are made of."""

    lines: Callable[[], Iterator[Line]]
    """Of the samples that were exported, in order, as often as they are asked for."""
    account: DatasetFile
    plan: Mapping[str, Any]
    left_out: Mapping[str, int]
    """Samples that the layout cannot hold, or that people dropped, by reason."""


class Format(Protocol):
    """How samples are written into the folder `dest` for one kind of reader."""

    dest: Folder
    name: ClassVar[str]
    wanted: ClassVar[tuple[str, ...]]
    """Suffixes of the files that it needs of an entry; the others are not read."""
    block: ClassVar[int]
    """Samples that become one record of progress."""
    last_id: ClassVar[int]
    """The highest ID that the layout has room for; samples with a higher one are left out, as `id_above_<last>`."""

    def write(self, items: Iterator[Item]) -> Iterator[Line]:
        """Write the own files of a block, one sample at least, and give a line a sample.

        Done again from the start where it was cut off.
        """
        ...

    def close(self, told: Told) -> None:
        """Write the files over all."""
        ...


def plan_of(form: Format, data: Dataset, text: str, limit: int | None) -> dict[str, Any]:
    """What makes two exports the same."""
    said = data.labels.digest
    return {"format": form.name, "dataset": data.account.index_sha256, "review": said, "filter": text, "limit": limit}


def export(
    data: Dataset,
    form: Format,
    text: str = "",
    limit: int | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Export what the filter chooses; returns what `export.json` says. Done before, nothing is written.

    tell: is given how many of how many samples are done. UserError where the folder holds something else or nothing was
    chosen, DatasetError where the dataset is damaged.
    """
    test, plan, dest = read_filter(text), plan_of(form, data, text, limit), form.dest
    if finished := _take_up(dest, plan):
        return finished
    total = sum(1 for _ in data.chosen(test, limit))
    if not total:
        raise UserError(f"--filter {text!r} fits none of the {data.account.counts.samples} samples")
    dest.write(f"{WORK}/{PLAN}", _json(plan))
    rows = enumerate(data.chosen(test, limit), 1)
    done = set(dest.names(WORK))
    blocks: list[str] = []
    while block := list(itertools.islice(rows, form.block)):
        blocks.append(f"{len(blocks):05d}")
        if f"{blocks[-1]}.jsonl" not in done:
            lines = list(_block(data, form, block))
            dest.write(f"{WORK}/{blocks[-1]}.jsonl", b"".join(map(_json_line, lines)))
        if tell:
            tell(block[-1][0], total)
    return _close(data, form, plan, blocks)


def _take_up(dest: Folder, plan: dict[str, Any]) -> dict[str, Any] | None:
    """What the finished export says, where this one is; None where it is to be made, or gone on with."""
    names = dest.names()
    for name in (EXPORT_FILE, f"{WORK}/{PLAN}"):
        if dest.exists(name):
            try:
                found = json.loads(dest.read(name))
                same = {key: found[key] for key in plan} == plan
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{dest.shown(name)} is damaged: give another --out") from None
            if not same:
                raise UserError(f"{dest.uri} holds another export (see {name}): give another --out")
            if name == EXPORT_FILE:
                return dict(found)
            _sweep(dest)
            return None
    if any(not name.startswith(TEMPORARY) and name != WORK for name in names):
        raise UserError(f"{dest.uri} is not empty: give another --out")
    return None


def _sweep(dest: Folder) -> None:
    """Remove what a killed run was writing just then."""
    for name, _ in dest.walk():
        if name.rpartition("/")[2].startswith(TEMPORARY):
            dest.remove(name)


def _block(data: Dataset, form: Format, rows: list[tuple[int, IndexRow]]) -> Iterator[Line]:
    refused = {place: why for place, row in rows if (why := _refused(data, form, row))}
    yield from ({"key": row.key, "left_out": refused[place]} for place, row in rows if place in refused)
    if kept := [found for found in rows if found[0] not in refused]:
        yield from form.write(data.items(kept, form.wanted))


def _refused(data: Dataset, form: Format, row: IndexRow) -> str:
    """Why a sample is left out; empty where it is not."""
    if row.key in data.labels.dropped:
        return Reason.DROPPED_IN_REVIEW.value
    return f"id_above_{form.last_id}" if max(map(number, row.ids)) > form.last_id else ""


def _close(data: Dataset, form: Format, plan: dict[str, Any], blocks: list[str]) -> dict[str, Any]:
    dest = form.dest

    def lines() -> Iterator[Line]:
        for block in blocks:
            with dest.open(f"{WORK}/{block}.jsonl") as stream:
                yield from map(json.loads, stream)

    left_out = Counter(line["left_out"] for line in lines() if "left_out" in line)
    clips = sum(1 for line in lines() if "left_out" not in line)
    counts = dict(sorted(left_out.items()))
    form.close(Told(lambda: (line for line in lines() if "left_out" not in line), data.account, plan, counts))
    if left_out:
        rows = (f"{line['key']},{line['left_out']}\n" for line in lines() if "left_out" in line)
        dest.write(LEFT_OUT, ("key,reason\n" + "".join(rows)).encode())
    found = {**plan, "clips": clips, "left_out": counts}
    dest.write(EXPORT_FILE, _json(found))
    dest.remove(WORK)
    return found


def write_all(dest: Folder, files: Mapping[str, bytes]) -> None:
    """Many small files side by side: each waits for the disk, or for a bucket's answer, and not for the others."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(dest.write, files, files.values()))


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _json_line(data: Line) -> bytes:
    return (json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n").encode()
