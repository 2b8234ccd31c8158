"""All chunks of one stage: looking over them, and cutting new ones.

A chunk is a folder with a number, `work/<stage>/<fingerprint>/<chunk>`. What decides over everything (scan's listing,
`select`, `dedupe`) cuts what is new into chunks; what it puts into one stays there for good, and the stages that follow
have a chunk of the same number each.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas import Record, Row
from tasks.errors import UserError
from tasks.store.folder import Folder
from tasks.store.index import Link
from tasks.store.lease import holder_of, lease, require_lease
from tasks.store.legs import Leg
from tasks.store.parts import PART, distinct, open_part
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


def as_numbers(keys: Collection[str]) -> NDArray[np.uint64]:
    """Keys, which are 16 hex digits each, in 8 bytes each."""
    return np.fromiter((int(key, 16) for key in keys), np.uint64, len(keys))


class _Opened(Mapping[str, StageStore[R]]):
    """The chunks by name; each is opened anew when it is asked for, and nobody keeps it."""

    def __init__(self, names: list[str], opened: Callable[[str], StageStore[R]]) -> None:
        self.names, self._opened = names, opened

    def __getitem__(self, name: str) -> StageStore[R]:
        if name not in self.names:
            raise KeyError(name)
        return self._opened(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class StageView(Generic[R]):
    """The rows of a stage in the chunks that there were when it was opened and those that it has made.

    What is kept of a row are 12 bytes, and those only once rows are looked for by their keys: a chunk is opened to be
    looked through, one after the other.
    """

    def __init__(self, work: Folder, place: str, payload: type[R], link: Link | None = None) -> None:
        """place: `<stage>/<fingerprint>`, below `work`."""
        self.work, self.place, self.payload, self.link = work, place, payload, link
        self.stage = place.partition("/")[0]
        self.folder = work.below(place)
        self.chunks: Mapping[str, StageStore[R]] = _Opened(chunk_names(self.folder.names()), self._open)
        self._where: tuple[NDArray[np.uint64], NDArray[np.int32]] | None = None

    def _open(self, name: str) -> StageStore[R]:
        return StageStore(self.work, f"{self.place}/{name}", self.payload, self.link)

    def _chunks_of(self, keys: Sequence[str]) -> list[str | None]:
        """For each key the chunk that has its row, if one has."""
        if self._where is None:
            found = [as_numbers(chunk.keys()) for chunk in self.chunks.values()]
            known = np.concatenate([np.empty(0, np.uint64), *found])
            chunk_of = np.repeat(np.arange(len(found), dtype=np.int32), [len(some) for some in found])
            order = np.argsort(known, kind="stable")
            self._where = known[order], chunk_of[order]
        known, chunk_of = self._where
        asked, names = as_numbers(keys), list(self.chunks)
        at = np.searchsorted(known, asked)
        there = at < len(known)
        there[there] = known[at[there]] == asked[there]
        return [names[chunk_of[i]] if found else None for i, found in zip(at, there, strict=True)]

    # looking

    def __contains__(self, key: str) -> bool:
        return self._chunks_of([key]) != [None]

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

    def chunk_of(self, key: str) -> str:
        """The chunk that has the row of `key`. KeyError where none has."""
        (name,) = self._chunks_of([key])
        if name is None:
            raise KeyError(key)
        return name

    def read(self, keys: Sequence[str]) -> list[Row[R]]:
        """The rows of `keys`, in their order. KeyError for one without."""
        by_chunk: dict[str, list[str]] = {}
        for key, name in zip(keys, self._chunks_of(keys), strict=True):
            if name is None:
                raise KeyError(key)
            by_chunk.setdefault(name, []).append(key)
        found = {row.key: row for name, mine in by_chunk.items() for row in self.chunks[name].read(mine)}
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

    def values(self, path: str) -> set[str]:
        """All texts at a Parquet path in any part, also in rows that a later part replaces: no row is looked for.

        DamagedPart; FileNotFoundError where a part is merged meanwhile.
        """
        found = set[str]()
        for name in self.chunks:
            chunk = self.folder.below(name)
            for file in chunk.names():
                if file.startswith(PART) and file.endswith(".parquet"):
                    with open_part(chunk, file, None) as part:
                        found |= distinct(part, path)
        return found

    # writing

    def append(self, rows: Sequence[Row[R]], size: int) -> None:
        """Put new rows on record in chunks of their own, in their order, `size` or fewer each.

        Under the stage's lease: who holds it is alone in making chunks.
        """
        require_lease(self.work, self.place)
        names, self._where = list(self.chunks), None
        for first, name in zip(range(0, len(rows), size), next_chunks(names), strict=False):
            names.append(name)
            self.chunks = _Opened(names, self._open)
            with self.held(name) as chunk:
                some, now = rows[first : first + size], time.time()
                chunk.write(some, Leg.of(some, now - sum(row.seconds for row in some), now, leg=name))

    def forget(self, keys: Iterable[str]) -> int:
        """Take rows off the record, each where it is; returns how many keys had some.

        UserError where a chunk that has some is at work.
        """
        gone, count, self._where = set(keys), 0, None
        for name, chunk in self.chunks.items() if gone else ():
            if any(key in chunk or chunk.failures(key) for key in gone):
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
