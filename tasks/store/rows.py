"""Where stages leave their results: `work/<stage>/<fingerprint>/part-*.parquet`, one row a clip.

The store is the record; Prefect only schedules. Done means that the clip has an accepted or rejected row. Parts appear
whole (tasks/store/folder.py), so a run that is killed at any moment loses at most the batches under way, and two
workers on one batch write the same part. Attempts that broke in their own way lie beside them as `fail-*.parquet`.

Anyone may look (tasks/store/reading.py) and add rows. What takes files away (`forget`, `compact`, `mend`) is for who
holds the build's lock, and says so where it is not held.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from typing import TypeVar

from schemas import Record, Row, Status
from schemas.arrow import arrow_schema, to_table
from tasks.store.lock import require_lock
from tasks.store.parts import AT_ONCE, FAIL, PART, TORN, DamagedPart, open_part, read_through, write_part
from tasks.store.reading import StageReader

R = TypeVar("R", bound=Record)

COMPACT_ABOVE = 64
"""Parts per stage above which `compact` merges them: opening a part costs ~1 ms, thousands of them seconds."""


class StageStore(StageReader[R]):
    """The rows of one stage under one fingerprint, for reading and writing. Safe for threads."""

    def write(self, rows: Sequence[Row[R]]) -> None:
        """Put the rows of a batch on record. Ends go to one part named after its keys; failed attempts go beside it."""
        # By key, so that two workers on one batch agree on where each row of their common part lies.
        ends = sorted((r for r in rows if r.status is not Status.FAILED), key=lambda r: r.key)
        fails = [r for r in rows if r.status is Status.FAILED]
        if ends:
            self._write_part(_name(r.key for r in ends), ends)
        if fails:
            self._write_part(f"{FAIL}{uuid.uuid4().hex[:16]}.parquet", fails)

    def _write_part(self, name: str, rows: Sequence[Row[R]]) -> None:
        pieces = (to_table(list(rows[i : i + AT_ONCE]), self.row_type) for i in range(0, len(rows), AT_ONCE))
        with self.folder.create(name) as stream:
            write_part(stream, pieces, arrow_schema(self.row_type))
        with self._lock:
            fresh = [row for row in rows if row.key not in self]
            self.damaged.pop(name, None)
            if name not in self._index.parts:
                self._take_in(self._index, name)
            # A clip that had a row keeps that one, and failed attempts are not read again.
            self._keep((row for row in fresh if row.key in self), self._index)

    def forget(self, keys: Iterable[str]) -> int:
        """Take rows off the record, so that their clips are pending again; returns how many clips had some."""
        require_lock(self.work)
        with self._lock:
            gone = set(keys) & (self._index.places.keys() | self._index.failures.keys())
            by_part: dict[str, set[str]] = {}
            for name in sorted(self._index.parts):
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
                    with self.folder.create(f"{name[:5]}{uuid.uuid4().hex[:16]}.parquet") as stream:
                        write_part(stream, [table.take(keep)], arrow_schema(self.row_type))
                self.folder.remove(name)
            self.refresh()
            return len(gone)

    def compact(self) -> None:
        """Merge many small parts into one, a row group in memory at a time.

        Rows stay beside those of their batch: the batches of a later run read them together again.
        """
        require_lock(self.work)
        with self._lock:
            old = [n for n in self._index.parts if n.startswith(PART)]
            if len(old) <= COMPACT_ABOVE:
                return
            self._recent = {}  # no batch is under way
            try:
                with self.folder.create(_name(old)) as stream:
                    write_part(stream, self._tables(self._index.places), arrow_schema(self.row_type))
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
        require_lock(self.work)
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
