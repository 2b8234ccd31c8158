"""A dataset made of entries from elsewhere: an import, or clips that were cut anew. Resumable as an export is.

```
DATASET/.making/plan.json     what it is made from
DATASET/.making/00000.json    the rows of a block whose shards stand, and what was left out of it
```
`dataset.json` is written last, as by a build, and `.making` goes then.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import TypeAdapter

from schemas import Row
from schemas.arrow import arrow_schema
from schemas.base import ClipId
from schemas.dataset import DATASET_FILE, Sharded
from tasks.dataset.split import split_of
from tasks.errors import UserError
from tasks.shard.account import gather
from tasks.shard.entry import Entry
from tasks.shard.stage import OpenShards, ShardSettings
from tasks.store.folder import TEMPORARY, Folder

WORK, PLAN, BLOCK = ".making", "plan.json", 256
T = TypeVar("T")


class LeftOut(Exception):
    """One of what is told cannot be taken; the others are gone on with. The message is one line."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


_ROWS = TypeAdapter(list[Sharded])


def make_dataset(
    dest: Folder,
    plan: Mapping[str, Any],
    told: Sequence[T],
    entry: Callable[[T], Entry],
    settings: ShardSettings,
    fingerprints: Mapping[str, str],
    tell: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Shards of what is told, in its order; returns how many samples there are, and what was left out, by reason.

    entry: gives the entry with its mp4, or raises LeftOut, whose reason counts. plan: what makes two runs the same.
    UserError where `dest` holds something else, and where nothing is left.
    """
    _take_up(dest, plan)
    done = set(dest.names(WORK))
    blocks = [told[at : at + BLOCK] for at in range(0, len(told), BLOCK)]
    seen = set[ClipId]()
    for n, block in enumerate(blocks):
        if f"{n:05d}.json" in done:
            seen.update(one["row"]["key"] for one in json.loads(dest.read(f"{WORK}/{n:05d}.json"))["rows"])
        else:
            left_out: list[tuple[str, str]] = []
            rows = list(_block(dest, f"{n:05d}", _entries(block, entry, seen, left_out), settings))
            kept = [row.payload.model_dump(mode="json") for row in rows if row.payload]
            dest.write(f"{WORK}/{n:05d}.json", json.dumps({"rows": kept, "left_out": left_out}).encode())
        if tell:
            tell(min((n + 1) * BLOCK, len(told)), len(told))

    def made() -> Iterator[dict[str, Any]]:
        return (json.loads(dest.read(f"{WORK}/{n:05d}.json")) for n in range(len(blocks)))

    lost = [(what, why) for one in made() for what, why in one["left_out"]]
    samples = len(told) - len(lost)
    if not samples:
        dest.remove(WORK)  # what is mended is looked at again
        raise UserError(f"nothing could be taken: {lost[0][1] if lost else 'there is nothing'}")
    gather(
        dest, (_payloads(one["rows"]) for one in made() if one["rows"]), settings.model_dump(mode="json"), fingerprints
    )
    dest.remove(WORK)
    reasons = Counter(why.partition(":")[0] for _, why in lost)
    return {"samples": samples, "left_out": dict(sorted(reasons.items())), "details": [f"{a}: {b}" for a, b in lost]}


def _take_up(dest: Folder, plan: Mapping[str, Any]) -> None:
    data = json.dumps(plan, indent=2, sort_keys=True).encode()
    if dest.exists(f"{WORK}/{PLAN}"):
        if dest.read(f"{WORK}/{PLAN}") != data:
            raise UserError(f"{dest.uri} is being made from something else: give another --out")
    elif any(not name.startswith(TEMPORARY) and name != WORK for name in dest.names()):
        what = "holds a dataset" if dest.exists(DATASET_FILE) else "is not empty"
        raise UserError(f"{dest.uri} {what}: give another --out")
    else:
        dest.write(f"{WORK}/{PLAN}", data)
    for name in dest.names():  # of a run that was killed
        if name.startswith(TEMPORARY):
            dest.remove(name)


def _entries(
    block: Sequence[T], entry: Callable[[T], Entry], seen: set[ClipId], left_out: list[tuple[str, str]]
) -> Iterator[Entry]:
    """The entries of a block, each clip once; `left_out` gets the others with the reason."""
    for one in block:
        try:
            made = entry(one)
            if made.sample.clip_id in seen:
                raise LeftOut("double", f"it is the clip {made.sample.clip_id}, which is there already")
        except LeftOut as found:
            left_out.append((str(one), f"{found.reason}: {found}"))
        else:
            seen.add(made.sample.clip_id)
            yield made


def _block(dest: Folder, chunk: str, entries: Iterable[Entry], settings: ShardSettings) -> Iterator[Row[Sharded]]:
    for name in dest.names():  # of a run that was killed before the block was on record
        if name.startswith((f"train-{chunk}-", f"val-{chunk}-")):
            dest.remove(name)
    with OpenShards(dest, chunk, settings) as shards:
        for made in entries:
            yield from shards.add(split_of(made.sample.provenance.group, settings.val_share), made)
        yield from shards.close()


def _payloads(rows: list[dict[str, Any]]) -> pa.StructArray:
    """As the shard stage's own rows come out of the store."""
    checked = [row.model_dump(mode="json") for row in _ROWS.validate_python(rows)]
    return pa.array(checked, type=pa.struct(list(arrow_schema(Sharded))))
