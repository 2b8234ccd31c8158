"""Where stages leave their results: `work/<stage>/<fingerprint>/<chunk>/part-*.parquet`, one row a clip.

The store is the record; Prefect only schedules. Done means that the clip has an accepted or rejected row. Parts appear
whole (tasks/store/folder.py), so a run that is killed at any moment loses at most the batches under way. Attempts that
broke in their own way lie beside them as `fail-*.parquet`. A chunk is up to a few thousand clips that stay together for
good: whoever works on it opens its rows and no others, and no read or write grows with the number of chunks.

Anyone may look (tasks/store/reading.py). Only who holds the chunk's lease (tasks/store/lease.py) writes, merges, mends
and takes away.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import IO, TypeVar

from schemas import Record, Row, Status
from schemas.arrow import arrow_schema, to_table
from tasks.store.lease import require_lease
from tasks.store.legs import Leg
from tasks.store.parts import AT_ONCE, FAIL, PART, TORN, DamagedPart, open_part, read_through, write_part
from tasks.store.reading import StageReader

R = TypeVar("R", bound=Record)

COMPACT_ABOVE = 8
"""Parts per chunk above which `compact` merges them: opening a part costs ~1 ms, and a listing names every one."""


class StageStore(StageReader[R]):
    """The rows of one chunk at one stage, for reading and writing. Safe for threads."""

    def write(self, rows: Sequence[Row[R]], leg: Leg | None = None) -> None:
        """Put the rows of a batch on record. Ends go to one part named after its keys; failed attempts go beside it.

        leg: what the work on them took.
        """
        if not rows:
            return
        ends = sorted((r for r in rows if r.status is not Status.FAILED), key=lambda r: r.key)
        fails = [r for r in rows if r.status is Status.FAILED]
        legs = [leg] if leg else []
        if ends:
            self._write_part(_name(r.key for r in ends), ends, legs)
        if fails:
            self._write_part(f"{FAIL}{uuid.uuid4().hex[:16]}.parquet", fails, [] if ends else legs)

    def _write_part(self, name: str, rows: Sequence[Row[R]], legs: Iterable[Leg]) -> None:
        pieces = (to_table(list(rows[i : i + AT_ONCE]), self.row_type) for i in range(0, len(rows), AT_ONCE))
        with self._create(name) as stream:
            write_part(stream, pieces, arrow_schema(self.row_type), legs)
        with self._lock:
            fresh = [row for row in rows if row.key not in self]
            self.damaged.pop(name, None)
            if name not in self._index.parts:
                self._take_in(self._index, name)
            # A clip that had a row keeps that one, and failed attempts are not read again.
            self._keep((row for row in fresh if row.key in self), self._index)

    def _create(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A part that appears only if the lease is still ours once all of it is written: encoding masks takes a while,
        in which a process may be frozen and lose it. What is on its way to a bucket by then cannot be called back."""

        def ours() -> str:
            require_lease(self.work, self.place)
            return name

        return self.folder.create(ours, mark=name)

    def replace(self, row: Row[R]) -> None:
        """Put a row on record in place of its clip's. A kill leaves both, of which one counts, and never none."""
        require_lease(self.work, self.place)
        name = f"{PART}{uuid.uuid4().hex[:16]}.parquet"
        self._write_part(name, [row], [])
        self.forget([row.key], but=name)

    def forget(self, keys: Iterable[str], but: str | None = None) -> int:
        """Take rows off the record, so that their clips are pending again; returns how many clips had some.

        but: a part that keeps its rows.
        """
        require_lease(self.work, self.place)
        with self._lock:
            gone = set(keys) & (self._index.places.keys() | self._index.failures.keys())
            if not gone:
                return 0
            by_part: dict[str, set[str]] = {}
            for name in sorted(self._index.parts.keys() - {but}):
                with open_part(self.folder, name, self.row_type) as part:
                    held = set(part.read(["key"], use_threads=False)["key"].to_pylist())
                if held & gone:
                    by_part[name] = held & gone
            for name, drop in by_part.items():
                with open_part(self.folder, name, self.row_type) as part:
                    table = part.read(use_threads=False)
                keep = [i for i, key in enumerate(table["key"].to_pylist()) if key not in drop]
                if keep:
                    # A new name: other readers notice a vanished part, not one that changed under its name.
                    with self._create(f"{name[:5]}{uuid.uuid4().hex[:16]}.parquet") as stream:
                        write_part(stream, [table.take(keep)], arrow_schema(self.row_type), self._index.legs[name])
                self.folder.remove(name)
            self.refresh()
            return len(gone)

    def compact(self) -> None:
        """Merge many small parts into one, a row group in memory at a time.

        Batches are cut in the order of keys, so that parts in the order of their first keys keep rows that are read
        together side by side.
        """
        require_lease(self.work, self.place)
        with self._lock:
            old = [n for n in self._index.parts if n.startswith(PART)]
            if len(old) <= COMPACT_ABOVE:
                return
            self._recent = {}  # no batch is under way
            try:
                with self._create(_name(old)) as stream:
                    legs = (leg for name in old for leg in self._index.legs[name])
                    write_part(stream, self._tables(self._index.places), arrow_schema(self.row_type), legs)
            except DamagedPart:
                return  # `mend` sees to it, and the next build merges
            # A kill here leaves doubles of equal rows, which readers drop.
            for name in old:
                self.folder.remove(name)
            self.refresh()

    def mend(self) -> list[str]:
        """Set aside those of the `damaged` parts that a second, whole look finds damaged too; a line for each.

        They keep their bytes under another name, and their clips are done again.
        """
        require_lease(self.work, self.place)
        if not self.damaged:
            return []
        with self._lock:
            aside = []
            for name in sorted(self.damaged):
                try:
                    with open_part(self.folder, name, self.row_type) as part:
                        read_through(part)
                except DamagedPart:
                    self.folder.move(name, f"{TORN}{name}")
                    aside.append(
                        f"{self.stage}: {name} was damaged and is kept as {TORN}{name}; its clips are done again"
                    )
                del self.damaged[name]
            self.refresh()
            return aside


def _name(words: Iterable[str]) -> str:
    digest = hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()[:16]
    return f"{PART}{digest}.parquet"
