"""All chunks of one stage: looking over them, and cutting new ones.

A chunk is a folder with a number, `work/<stage>/<fingerprint>/<chunk>`. What decides over everything (scan's listing,
`select`, `dedupe`) cuts what is new into chunks; what it puts into one stays there for good, and the stages that follow
have a chunk of the same number each.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from schemas import Record, Row
from tasks.errors import UserError
from tasks.store.folder import Folder
from tasks.store.index import Link, Totals
from tasks.store.lease import holder_of, lease, require_lease
from tasks.store.legs import Leg, summed
from tasks.store.rows import StageStore

R = TypeVar("R", bound=Record)

CHUNK = re.compile(r"[0-9]{5,}")


def chunk_names(names: Iterable[str]) -> list[str]:
    """Those of `names` that are chunks', in order."""
    return sorted((name for name in names if CHUNK.fullmatch(name)), key=lambda name: (len(name), name))


def next_chunks(known: Sequence[str]) -> Iterator[str]:
    """Names for chunks after those that there are."""
    number = int(known[-1]) + 1 if known else 0
    while True:
        yield f"{number:05d}"
        number += 1


class StageView(Generic[R]):
    """The rows of a stage in all its chunks, as they were when it was opened and as written through it."""

    def __init__(self, work: Folder, place: str, payload: type[R], link: Link | None = None) -> None:
        """place: `<stage>/<fingerprint>`, below `work`."""
        self.work, self.place, self.payload, self.link = work, place, payload, link
        self.stage = place.partition("/")[0]
        self.folder = work.below(place)
        self.chunks = {name: self._open(name) for name in chunk_names(self.folder.names())}

    def _open(self, name: str) -> StageStore[R]:
        return StageStore(self.work, f"{self.place}/{name}", self.payload, self.link)

    # looking

    def __contains__(self, key: str) -> bool:
        return any(key in chunk for chunk in self.chunks.values())

    def __len__(self) -> int:
        return sum(map(len, self.chunks.values()))

    def accepted(self) -> list[str]:
        """Sorted keys of the accepted rows."""
        return sorted(key for chunk in self.chunks.values() for key in chunk.accepted())

    def rejected(self) -> dict[str, str]:
        """Reason code by key, sorted."""
        return dict(sorted(pair for chunk in self.chunks.values() for pair in chunk.rejected().items()))

    def links(self) -> dict[str, str]:
        """Keys of the next stage and the accepted row that leads to each, sorted by key."""
        return dict(sorted(pair for chunk in self.chunks.values() for pair in chunk.links().items()))

    def keys(self) -> set[str]:
        """Of all rows."""
        return set().union(*(chunk.keys() for chunk in self.chunks.values()))

    def pending(self, upstream: Iterable[str]) -> list[str]:
        """Keys of `upstream` that have no row, in its order."""
        known = self.keys()
        return [key for key in upstream if key not in known]

    def totals(self, upstream: Iterable[str]) -> Totals:
        """Counts over the rows of `upstream`, and of its keys that have none."""
        found, asked = Totals(), list(upstream)
        for chunk in self.chunks.values():
            one = chunk.totals(asked)
            found.accepted += one.accepted
            found.rejected += one.rejected
            found.seconds += one.seconds
            found.links += one.links
            found.machines = summed((*found.machines, *one.machines))
            found.usage = (found.usage + one.usage if found.usage else one.usage) if one.usage else found.usage
        found.pending = len(asked) - found.accepted - found.rejected.total()
        return found

    def chunk_of(self, key: str) -> str:
        """The chunk that has the row of `key`. KeyError where none has."""
        for name, chunk in self.chunks.items():
            if key in chunk:
                return name
        raise KeyError(key)

    def read(self, keys: Sequence[str]) -> list[Row[R]]:
        """The rows of `keys`, in their order. KeyError for one without."""
        found: dict[str, Row[R]] = {}
        for chunk in self.chunks.values():
            mine = [key for key in keys if key in chunk]
            found |= dict(zip(mine, chunk.read(mine), strict=True))
        return [found[key] for key in keys]

    def payloads(self, keys: Sequence[str]) -> list[R]:
        """The records of accepted `keys`, in their order. ValueError for a rejected one."""
        rows = self.read(keys)
        for row in rows:
            if row.payload is None:
                raise ValueError(f"{row.key} was rejected at {self.stage}: {row.reason}")
        return [row.payload for row in rows if row.payload is not None]

    def scan(self) -> Iterator[list[Row[R]]]:
        """All rows, a few at a time."""
        for chunk in self.chunks.values():
            yield from chunk.scan()

    def columns(self, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows as plain data, with only their keys and the leaves at these Parquet paths."""
        for chunk in self.chunks.values():
            yield from chunk.columns(paths)

    # writing

    def append(self, rows: Sequence[Row[R]], size: int) -> None:
        """Put new rows on record in chunks of their own, in their order, `size` or fewer each.

        Under the stage's lease: who holds it is alone in making chunks.
        """
        require_lease(self.work, self.place)
        for first, name in zip(range(0, len(rows), size), next_chunks(list(self.chunks)), strict=False):
            self.chunks[name] = self._open(name)
            with self.held(name) as chunk:
                some, now = rows[first : first + size], time.time()
                chunk.write(some, Leg.of(some, now - sum(row.seconds for row in some), now, leg=name))

    def forget(self, keys: Iterable[str]) -> int:
        """Take rows off the record, each where it is; returns how many keys had some.

        UserError where a chunk that has some is at work.
        """
        gone, count = set(keys), 0
        for name, chunk in self.chunks.items():
            if gone and any(key in chunk or chunk.failures(key) for key in gone):
                with self.held(name):
                    count += chunk.forget(gone)
        return count

    @contextmanager
    def held(self, name: str) -> Iterator[StageStore[R]]:
        """A chunk, for writing. UserError where another process works on it."""
        with lease(self.work, f"{self.place}/{name}") as mine:
            if mine is None:
                who = holder_of(self.work, f"{self.place}/{name}")
                raise UserError(f"{self.stage} is at work on chunk {name} ({who}): wait for it to end")
            yield self.chunks[name]

    @property
    def damaged(self) -> list[str]:
        """Parts that could not be read, a line each."""
        return [why for chunk in self.chunks.values() for why in chunk.damaged.values()]

    def mend(self) -> list[str]:
        """Set damaged parts aside, a line for each."""
        told = []
        for name, chunk in self.chunks.items():
            if chunk.damaged:
                with self.held(name):
                    told += chunk.mend()
        return told
