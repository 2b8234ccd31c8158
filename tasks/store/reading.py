"""Reading a chunk's rows while others write, merge and remove parts. Nothing here writes, renames or mends.

A part that cannot be read is told in `damaged` and its clips count as pending; putting it away is for the holder of the
chunk's lease (tasks/store/rows.py).
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import pyarrow as pa

from schemas import Record, Row
from schemas.arrow import from_table
from tasks.errors import InfrastructureError
from tasks.store.folder import Folder
from tasks.store.index import Index, Link, Totals
from tasks.store.parts import FAIL, PART, DamagedPart, glance, open_part, rows_of

R = TypeVar("R", bound=Record)

TRIES, WAIT_S = 20, 0.02
"""How often a look is taken anew because parts vanished in the middle of it, and by how much longer each try waits."""


class StageReader(Generic[R]):
    """The rows of one chunk at one stage. Safe for threads; an instance sees others' parts after `refresh`.

    Whatever opens or reads parts raises UserError for one of another version, and OSError or InfrastructureError where
    the disk or the network fails.
    """

    def __init__(self, work: Folder, place: str, payload: type[R], link: Link | None = None, at_hand: int = 0) -> None:
        """place: `<stage>/<fingerprint>/<chunk>`, below `work`.

        at_hand: how many rows, those last written or read, stay in memory; what the batches under way go through.
        """
        self.place = place
        self.stage = place.partition("/")[0]
        self.link = link
        self.at_hand = at_hand
        self.work = work
        self.folder = work.below(place)
        self.row_type: type[Row[R]] = Row[payload]  # type: ignore[valid-type]
        self.damaged: dict[str, str] = {}
        """Parts that are no part of the index because of their bytes, and what is wrong with each, in one line."""
        self._lock = threading.RLock()
        self._index = Index(link)
        self._recent: dict[str, Row[R]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in parts added or removed since the last look; another thread sees the index before or after it."""
        with self._lock:
            for wait in _tries():
                _pause(wait)
                names = self._names()
                self.damaged = {name: why for name, why in self.damaged.items() if name in names}
                sound = names - self.damaged.keys()
                index = self._index if self._index.parts.keys() <= sound else Index(self.link)
                try:
                    for name in sorted(sound - index.parts.keys()):
                        self._take_in(index, name)
                except FileNotFoundError:  # merged or rewritten since it was listed
                    continue
                if index is not self._index:
                    self._index, self._recent = index, {}
                return
        raise self._restless()

    def _names(self) -> set[str]:
        """Names of all parts. A listing is no snapshot, and a merger while it runs may hide both the old parts and the
        new one: it is whole where nothing that the listing before showed has gone."""
        before = self._list()
        for _ in _tries():
            now = self._list()
            if before <= now:
                return now
            before = now
        raise self._restless()

    def _list(self) -> set[str]:
        return {n for n in self.folder.names() if n.startswith((PART, FAIL)) and n.endswith(".parquet")}

    def _restless(self) -> InfrastructureError:
        return InfrastructureError(f"{self.folder.root}: parts vanish as fast as they are looked at")

    def _take_in(self, index: Index, name: str) -> None:
        try:
            with open_part(self.folder, name, self.row_type) as part:
                seen = glance(part, self.link.column if self.link else None)
        except DamagedPart as error:
            self.damaged[name] = str(error)
        else:
            for key in index.take_in(name, seen):
                self._recent.pop(key, None)

    def __contains__(self, key: str) -> bool:
        return key in self._index.places

    def __len__(self) -> int:
        return len(self._index.places)

    def keys(self) -> set[str]:
        """Of all rows."""
        with self._lock:
            return set(self._index.places)

    def accepted(self) -> list[str]:
        """Sorted keys of the accepted rows."""
        with self._lock:
            return sorted(self._index.places.keys() - self._index.reasons.keys())

    def links(self) -> dict[str, str]:
        """Keys of the next stage and the accepted row that leads to each, sorted by key."""
        with self._lock:
            return dict(sorted(self._index.owners.items()))

    def leading_to(self, links: Iterable[str]) -> list[str]:
        """The accepted rows that lead to these keys of the next stage, sorted, each once.

        KeyError for one without, DamagedPart where its row may be in a part that cannot be read.
        """
        with self._lock:
            try:
                return sorted({self._index.owners[link] for link in links})
            except KeyError as error:
                raise self._without_row(error.args[0]) from None

    def rejected(self) -> dict[str, str]:
        """Reason code by key."""
        with self._lock:
            return dict(sorted(self._index.reasons.items()))

    def pending(self, upstream: Iterable[str]) -> list[str]:
        """Keys of `upstream` that have no row yet, in its order."""
        places = self._index.places
        return [k for k in upstream if k not in places]

    def accepted_of(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that were accepted, in their order."""
        with self._lock:
            index = self._index
            return [k for k in keys if k in index.places and k not in index.reasons]

    def failures(self, key: str) -> int:
        """Attempts on record that broke in their own way."""
        return self._index.failures[key]

    def totals(self, upstream: Iterable[str] | None = None) -> Totals:
        """Counts over all rows, or over those whose key is in `upstream`."""
        with self._lock:
            return self._index.totals(list(self._index.places if upstream is None else upstream))

    def read(self, keys: Sequence[str]) -> list[Row[R]]:
        """The rows of `keys`, in their order.

        KeyError for one without a row, DamagedPart where its row may be in a part that cannot be read.
        """
        with self._lock:
            index = self._index
            found = {k: self._recent[k] for k in keys if k in self._recent}
        for table in self._tables(k for k in keys if k not in found):
            # Many rows at once: converting them one by one costs several times as much.
            rows = from_table(table, self.row_type)
            self._keep(rows, index)
            found |= {row.key: row for row in rows}
        if not found.keys() >= set(keys):
            raise self._without_row(min(set(keys) - found.keys()))
        return [found[k] for k in keys]

    def _without_row(self, key: str) -> KeyError | DamagedPart:
        """What to raise for a key without a row, which may have had one."""
        with self._lock:
            return DamagedPart(next(iter(self.damaged.values()))) if self.damaged else KeyError(key)

    def _keep(self, rows: Iterable[Row[R]], index: Index) -> None:
        """Have rows at hand, unless the index that they were found by has been replaced."""
        with self._lock:
            self._recent |= {row.key: row for row in rows} if self.at_hand and index is self._index else {}
            for key in list(self._recent)[: -self.at_hand]:
                del self._recent[key]

    def payloads(self, keys: Sequence[str]) -> list[R]:
        """The records of accepted `keys`, in their order. ValueError for a rejected one."""
        records = []
        for row in self.read(keys):
            if row.payload is None:
                raise ValueError(f"{row.key} was rejected at {self.stage}: {row.reason}")
            records.append(row.payload)
        return records

    def scan(self) -> Iterator[list[Row[R]]]:
        """All rows, each clip once, AT_ONCE or fewer at a time. In the order of the parts: others read them often."""
        with self._lock:
            keys = list(self._index.places)
        for table in self._tables(keys):
            yield from_table(table, self.row_type)

    def columns(self, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows as plain data, each clip once; only their keys and the leaves at these Parquet paths are read."""
        for table in self.tables(paths):
            yield from table.to_pylist()

    def tables(self, paths: Sequence[str]) -> Iterator[pa.Table]:
        """All rows, each clip once, with only their keys and the leaves at these Parquet paths."""
        with self._lock:
            keys = list(self._index.places)
        yield from self._tables(keys, ["key", *paths])

    def _tables(self, keys: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of those of `keys` that have one, each once, part by part.

        A part may be merged into another or rewritten under way: what it held is then read from where it is now.
        """
        left = set(keys)
        for wait in _tries():
            _pause(wait)
            with self._lock:
                wanted = self._index.by_part(left)
            try:
                for part, groups in wanted.items():
                    for table in self._read_part(part, groups, columns):
                        left.difference_update(table["key"].to_pylist())
                        yield table
            except FileNotFoundError:
                self.refresh()
            else:
                return
        raise self._restless()

    def _read_part(self, name: str, groups: dict[int, set[int]], columns: Sequence[str] | None) -> Iterator[pa.Table]:
        try:
            with open_part(self.folder, name, self.row_type) as part:
                yield from rows_of(part, groups, columns)
        except DamagedPart as error:
            with self._lock:
                self.damaged[name] = str(error)
                self.refresh()
            raise


def _tries() -> Iterator[float]:
    """Seconds to wait before each try."""
    return (WAIT_S * i for i in range(TRIES))


def _pause(seconds: float) -> None:
    if seconds:  # even none at all gives the processor away
        time.sleep(seconds)
