"""Where stages leave their results: `work/<stage>/<fingerprint>/part-*.parquet`, one row a clip.

The store is the record; Prefect only schedules. Done means that the clip has an accepted or rejected row. Parts appear
whole (tasks/files.py), so a run that is killed at any moment loses at most the batches under way, and two workers on
one batch write the same part. Attempts that broke in their own way lie beside them as `fail-*.parquet`.
"""

import hashlib
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import Record, Row, Status, Usage
from schemas.arrow import arrow_schema, from_table, to_table
from tasks.errors import InfrastructureError
from tasks.files import Folder

R = TypeVar("R", bound=Record)

ROW_GROUP = 64
"""Rows per Parquet row group: reading one batch out of a compacted part costs a few groups, not the part."""

AT_ONCE = 16
"""Rows converted to or from Arrow at once: one with masks is large, and what memory a thread once took it keeps."""

COMPACT_ABOVE = 64
"""Parts per stage above which `compact` merges them: opening a part costs ~1 ms, thousands of them seconds."""

PART, FAIL, TORN = "part-", "fail-", "torn-"


@dataclass(slots=True)
class Place:
    """Where a clip's row is, and how it ended. There is one for every clip and stage on record, so it is small."""

    part: str
    group: int
    row: int
    reason: str | None
    """None: accepted."""


@dataclass(frozen=True)
class Link:
    """How an accepted row names the keys of the next stage, where those are not its own key."""

    column: str
    """Parquet path of the leaf, so that an index reads it without the rest of the payload."""
    of: Callable[[Any], list[str]]
    """The keys, out of the payload as plain data."""


@dataclass
class Totals:
    """What a stage has on record."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    """Keys of the upstream asked about that have no row; counted in the same look as the others."""
    seconds: float = 0.0
    usage: Usage | None = None
    """What models behind a server cost, over all rows."""


class StageStore(Generic[R]):
    """The rows of one stage under one fingerprint. Safe for threads; an instance sees others' parts after `refresh`."""

    def __init__(
        self, work: Folder, stage: str, fingerprint: str, payload: type[R], link: Link | None = None, at_hand: int = 0
    ) -> None:
        """at_hand: how many rows, those last written or read, stay in memory; what the batches under way go through."""
        self.stage = stage
        self.link = link
        self.at_hand = at_hand
        self.fingerprint = fingerprint
        self.folder = work.below(f"{stage}/{fingerprint}")
        self.row_type: type[Row[R]] = Row[payload]  # type: ignore[valid-type]
        self.torn: list[str] = []
        self._lock = threading.RLock()
        self._seen: dict[str, None] = {}
        """Parts taken in, in that order."""
        self._places: dict[str, Place] = {}
        self._recent: dict[str, Row[R]] = {}
        self._owners: dict[str, str] = {}
        """Keys of the next stage and the row that leads to each, where the stage has a link."""
        self._failures: Counter[str] = Counter()
        self._seconds = 0.0
        self._usage: Usage | None = None
        self.refresh()

    # reading

    def refresh(self) -> None:
        """Take in parts added or removed since the last look. A torn part is set aside, and its clips are pending."""
        with self._lock:
            names = [n for n in self.folder.names() if n.startswith((PART, FAIL)) and n.endswith(".parquet")]
            if self._seen.keys() - set(names):
                self._seen, self._places, self._failures, self._seconds = {}, {}, Counter(), 0.0
                self._owners, self._usage, self._recent = {}, None, {}
            for name in names:
                if name not in self._seen:
                    self._take_in(name)

    def _take_in(self, name: str) -> None:
        light = ["key", "status", "reason", "seconds", "usage"] + ([self.link.column] if self.link else [])
        try:
            with self.folder.open(name) as stream:
                parts = pq.ParquetFile(stream)
                if not parts.schema_arrow.equals(arrow_schema(self.row_type)):
                    raise pa.ArrowInvalid("has other columns than this version writes")
                columns = parts.read(columns=light, use_threads=False).to_pydict()
                sizes = [parts.metadata.row_group(g).num_rows for g in range(parts.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            self._set_aside(name, error)
            return
        self._seen[name] = None
        self._seconds += sum(columns["seconds"])
        spent = [Usage(**usage) for usage in columns["usage"] if usage is not None]
        if spent:
            self._usage = sum(spent, start=self._usage or Usage())
        # A clip has the same key at every stage: one string for all.
        keys = [sys.intern(key) for key in columns["key"]]
        payloads = columns["payload"] if self.link else [None] * len(keys)
        where = [(g, r) for g, size in enumerate(sizes) for r in range(size)]
        rows = zip(where, keys, columns["status"], columns["reason"], payloads, strict=True)
        for (g, r), key, status, reason, payload in rows:
            if status == Status.FAILED:
                self._failures[key] += 1
            elif key not in self._places:
                accepted = status == Status.ACCEPTED
                self._places[key] = Place(name, g, r, None if accepted else sys.intern(reason or ""))
                for link in self.link.of(payload) if self.link and accepted else ():
                    # Of several rows that lead to one key the same one wins in any order of parts.
                    self._owners[sys.intern(link)] = max(key, self._owners.get(link, key))

    def _set_aside(self, name: str, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; what Arrow finds has no number
            raise error
        self.folder.write(f"{TORN}{name}", self.folder.read(name))
        self.folder.remove(name)
        self.torn.append(name)
        self._recent = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def accepted(self) -> list[str]:
        """Sorted keys of the accepted rows."""
        with self._lock:
            return sorted(k for k, p in self._places.items() if p.reason is None)

    def links(self) -> dict[str, str]:
        """Keys of the next stage and the accepted row that leads to each, sorted by key."""
        with self._lock:
            return dict(sorted(self._owners.items()))

    def leading_to(self, links: Iterable[str]) -> list[str]:
        """The accepted rows that lead to these keys of the next stage, sorted, each once. KeyError for one without."""
        with self._lock:
            return sorted({self._owners[link] for link in links})

    def by_place(self, links: Iterable[str]) -> list[str]:
        """These keys of the next stage, those whose rows lie together side by side; first any that no row leads to."""

        def place(link: str) -> tuple[str, int, int, str]:
            found = self._places.get(self._owners.get(link, ""))
            return (found.part, found.group, found.row, link) if found else ("", 0, 0, link)

        with self._lock:
            return sorted(links, key=place)

    def rejected(self) -> dict[str, str]:
        """Reason code by key."""
        with self._lock:
            return {k: p.reason for k, p in sorted(self._places.items()) if p.reason is not None}

    def reason_of(self, key: str) -> str | None:
        """Why `key` was rejected; None when it was not, or has no row."""
        place = self._places.get(key)
        return None if place is None else place.reason

    def pending(self, upstream: Iterable[str]) -> list[str]:
        """Keys of `upstream` that have no row yet, in its order."""
        return [k for k in upstream if k not in self._places]

    def accepted_of(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that were accepted, in their order."""
        with self._lock:
            return [k for k in keys if (place := self._places.get(k)) and place.reason is None]

    def failures(self, key: str) -> int:
        """Attempts on record that broke in their own way."""
        return self._failures[key]

    def totals(self, upstream: Iterable[str] | None = None) -> Totals:
        """Counts over all rows, or over those whose key is in `upstream`."""
        with self._lock:
            known = list(self._places.values() if upstream is None else map(self._places.get, upstream))
            ends = Counter(p.reason for p in known if p is not None)
            return Totals(
                accepted=ends.pop(None, 0),
                rejected=Counter({reason: n for reason, n in ends.items() if reason is not None}),
                pending=sum(p is None for p in known),
                seconds=self._seconds,
                usage=self._usage,
            )

    def read(self, keys: Sequence[str]) -> list[Row[R]]:
        """The rows of `keys`, in their order. KeyError for one without a row."""
        with self._lock:
            places = {k: self._places[k] for k in keys}
            found = {k: self._recent[k] for k in places if k in self._recent}
        wanted: dict[str, dict[int, dict[int, str]]] = {}
        for key, place in places.items():
            if key not in found:
                wanted.setdefault(place.part, {}).setdefault(place.group, {})[place.row] = key
        for part, groups in sorted(wanted.items()):
            for table in self._read_rows(part, groups):
                # Many rows at once: converting them one by one costs several times as much.
                rows = from_table(table, self.row_type)
                self._keep(rows)
                found |= {row.key: row for row in rows}
        return [found[k] for k in keys]

    def _keep(self, rows: Iterable[Row[R]]) -> None:
        with self._lock:
            self._recent |= {row.key: row for row in rows} if self.at_hand else {}
            for key in list(self._recent)[: -self.at_hand]:
                del self._recent[key]

    def _read_rows(self, part: str, groups: Mapping[int, Collection[int]]) -> Iterator[pa.Table]:
        """Rows of a part, given by row group, AT_ONCE or fewer at a time and in the part's order.

        One damaged where an index does not look is set aside, as InfrastructureError.
        """
        try:
            if part not in self.torn:
                with self.folder.open(part) as stream:
                    parts = pq.ParquetFile(stream)
                    for g, rows in sorted(groups.items()):
                        first = 0
                        # Batches run side by side: more threads for one cost processor time and bring nothing.
                        for piece in parts.iter_batches(AT_ONCE, row_groups=[g], use_threads=False):
                            wanted = [i for i in range(len(piece)) if first + i in rows]
                            first += len(piece)
                            if wanted:
                                table = pa.Table.from_batches([piece])
                                yield table if len(wanted) == len(piece) else table.take(wanted)
                return
        except (pa.ArrowException, OSError) as error:
            self._set_aside(part, error)
        raise InfrastructureError(f"{self.folder.path(part)} was damaged: it is set aside, and its clips are pending")

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
        for table in self._tables():
            yield from_table(table, self.row_type)

    def _tables(self) -> Iterator[pa.Table]:
        wanted: dict[str, dict[int, set[int]]] = {}
        with self._lock:
            wanted |= {name: {} for name in self._seen}
            for place in self._places.values():
                wanted[place.part].setdefault(place.group, set()).add(place.row)
        for part, groups in wanted.items():
            yield from self._read_rows(part, groups)

    # writing

    def write(self, rows: Sequence[Row[R]]) -> None:
        """Put the rows of a batch on record. Ends go to one part named after its keys; failed attempts go beside it."""
        ends = [r for r in rows if r.status is not Status.FAILED]
        fails = [r for r in rows if r.status is Status.FAILED]
        if ends:
            digest = hashlib.sha256("\n".join(sorted(r.key for r in ends)).encode()).hexdigest()[:16]
            self._write_part(f"{PART}{digest}.parquet", ends)
        if fails:
            self._write_part(f"{FAIL}{uuid.uuid4().hex[:16]}.parquet", fails)

    def _write_part(self, name: str, rows: Sequence[Row[R]]) -> None:
        pieces = (to_table(list(rows[i : i + AT_ONCE]), self.row_type) for i in range(0, len(rows), AT_ONCE))
        table = pa.concat_tables(pieces)
        with self.folder.create(name) as stream:
            pq.write_table(table, stream, compression="zstd", row_group_size=ROW_GROUP)
        with self._lock:
            if name not in self._seen:
                self._take_in(name)
            # A clip that has a row elsewhere keeps that one.
            self._keep(r for r in rows if (place := self._places.get(r.key)) and place.part == name)

    def forget(self, keys: Iterable[str]) -> int:
        """Take rows off the record, so that their clips are pending again. Only under the build lock."""
        with self._lock:
            gone = set(keys) & (set(self._places) | set(self._failures))
            by_part: dict[str, set[str]] = {}
            for name in sorted(self._seen):
                with self.folder.open(name) as stream:
                    held = set(pq.read_table(stream, columns=["key"])["key"].to_pylist())
                if held & gone:
                    by_part[name] = held & gone
            for name, drop in by_part.items():
                with self.folder.open(name) as stream:
                    table = pq.read_table(stream)
                keep = [i for i, key in enumerate(table["key"].to_pylist()) if key not in drop]
                if keep:
                    # A new name: other readers notice a vanished part, not one that changed under its name.
                    with self.folder.create(f"{name[:5]}{uuid.uuid4().hex[:16]}.parquet") as stream:
                        pq.write_table(table.take(keep), stream, compression="zstd", row_group_size=ROW_GROUP)
                self.folder.remove(name)
            self.refresh()
            return len(gone)

    def compact(self) -> None:
        """Merge many small parts into one, a row group in memory at a time. Only under the build lock.

        Rows stay beside those of their batch: the batches of a later run read them together again.
        """
        with self._lock:
            old = [n for n in self._seen if n.startswith(PART)]
            if len(old) <= COMPACT_ABOVE:
                return
            self._recent = {}  # no batch is under way
            digest = hashlib.sha256("\n".join(sorted(old)).encode()).hexdigest()[:16]
            with self.folder.create(f"{PART}{digest}.parquet") as stream:
                with pq.ParquetWriter(stream, arrow_schema(self.row_type), compression="zstd") as writer:
                    held: list[pa.Table] = []
                    for table in self._tables():
                        held = _write_groups(writer, [*held, table])
                    if held:
                        writer.write_table(pa.concat_tables(held))
            # A kill here leaves doubles of equal rows, which readers drop.
            for name in old:
                self.folder.remove(name)
            self.refresh()


def _write_groups(writer: pq.ParquetWriter, tables: list[pa.Table]) -> list[pa.Table]:
    """Write whole row groups; returns what is left. Not an empty table, which would keep all that it is a part of."""
    rows = pa.concat_tables(tables)
    whole = len(rows) - len(rows) % ROW_GROUP
    if whole:
        writer.write_table(rows[:whole], row_group_size=ROW_GROUP)
    return [rows[whole:]] if whole < len(rows) else []
