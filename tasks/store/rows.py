"""Where stages leave their results: `work/<stage>/<fingerprint>/part-*.parquet`, one row a clip.

The store is the record; Prefect only schedules. Done means that the clip has an accepted or rejected row. Parts appear
whole (tasks/store/folder.py), so a run that is killed at any moment loses at most the batches under way, and two
workers on one batch write the same part. Attempts that broke in their own way lie beside them as `fail-*.parquet`.
"""

import bisect
import hashlib
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import Record, Row, Status, Usage
from schemas.arrow import arrow_schema, from_table, to_table
from tasks.errors import InfrastructureError
from tasks.store.folder import Folder

R = TypeVar("R", bound=Record)

ROW_GROUP = 64
"""Rows per Parquet row group: reading one batch out of a compacted part costs a few groups, not the part."""

AT_ONCE = 16
"""Rows converted to or from Arrow at once: one with masks is large, and what memory a thread once took it keeps."""

COMPACT_ABOVE = 64
"""Parts per stage above which `compact` merges them: opening a part costs ~1 ms, thousands of them seconds."""

PART, FAIL, TORN = "part-", "fail-", "torn-"


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
        self._seen: dict[str, int] = {}
        """Parts in the order in which they were taken in, and the place of each one's first row."""
        self._places: dict[str, int] = {}
        """Where each clip's row is: places are counted over all parts, ROW_GROUP a row group. Plain numbers, for there
        is one for every clip and stage, and objects of our own would keep the garbage collector busy."""
        self._end = 0
        self._reasons: dict[str, str] = {}
        """Of the rejected rows."""
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
                self._seen, self._places, self._end, self._reasons = {}, {}, 0, {}
                self._failures, self._seconds, self._usage = Counter(), 0.0, None
                self._owners, self._recent = {}, {}
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
                if max(sizes, default=0) > ROW_GROUP:
                    raise pa.ArrowInvalid("has larger row groups than this version writes")
        except (pa.ArrowException, OSError) as error:
            self._set_aside(name, error)
            return
        self._seen[name] = self._end
        places = [self._end + g * ROW_GROUP + r for g, size in enumerate(sizes) for r in range(size)]
        self._end += len(sizes) * ROW_GROUP
        self._seconds += sum(columns["seconds"])
        spent = [Usage(**usage) for usage in columns["usage"] if usage is not None]
        if spent:
            self._usage = sum(spent, start=self._usage or Usage())
        # A clip has the same key at every stage: one string for all.
        keys = [sys.intern(key) for key in columns["key"]]
        payloads = columns["payload"] if self.link else [None] * len(keys)
        rows = zip(places, keys, columns["status"], columns["reason"], payloads, strict=True)
        for place, key, status, reason, payload in rows:
            if status == Status.FAILED:
                self._failures[key] += 1
            elif key not in self._places:
                self._places[key] = place
                if status == Status.REJECTED:
                    self._reasons[key] = sys.intern(reason)
                for link in self.link.of(payload) if self.link and status == Status.ACCEPTED else ():
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
            return sorted(self._places.keys() - self._reasons.keys())

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
        with self._lock:
            return sorted(links, key=lambda link: (self._places.get(self._owners.get(link, ""), -1), link))

    def rejected(self) -> dict[str, str]:
        """Reason code by key."""
        with self._lock:
            return dict(sorted(self._reasons.items()))

    def reason_of(self, key: str) -> str | None:
        """Why `key` was rejected; None when it was not, or has no row."""
        return self._reasons.get(key)

    def pending(self, upstream: Iterable[str]) -> list[str]:
        """Keys of `upstream` that have no row yet, in its order."""
        return [k for k in upstream if k not in self._places]

    def accepted_of(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that were accepted, in their order."""
        with self._lock:
            return [k for k in keys if k in self._places and k not in self._reasons]

    def failures(self, key: str) -> int:
        """Attempts on record that broke in their own way."""
        return self._failures[key]

    def totals(self, upstream: Iterable[str] | None = None) -> Totals:
        """Counts over all rows, or over those whose key is in `upstream`."""
        with self._lock:
            asked = list(self._places if upstream is None else upstream)
            known = [key for key in asked if key in self._places]
            rejected = Counter(self._reasons[key] for key in known if key in self._reasons)
            return Totals(
                accepted=len(known) - rejected.total(),
                rejected=rejected,
                pending=len(asked) - len(known),
                seconds=self._seconds,
                usage=self._usage,
            )

    def read(self, keys: Sequence[str]) -> list[Row[R]]:
        """The rows of `keys`, in their order. KeyError for one without a row."""
        with self._lock:
            places = {k: self._places[k] for k in keys}
            found = {k: self._recent[k] for k in places if k in self._recent}
            wanted = self._by_part(place for key, place in places.items() if key not in found)
        for part, groups in wanted.items():
            for table in self._read_rows(part, groups):
                # Many rows at once: converting them one by one costs several times as much.
                rows = from_table(table, self.row_type)
                self._keep(rows)
                found |= {row.key: row for row in rows}
        return [found[k] for k in keys]

    def _by_part(self, places: Iterable[int]) -> dict[str, dict[int, set[int]]]:
        """The places' rows by part and row group, in order."""
        parts, firsts = list(self._seen), list(self._seen.values())
        found: dict[str, dict[int, set[int]]] = {}
        for place in sorted(places):
            i = bisect.bisect_right(firsts, place) - 1
            group, row = divmod(place - firsts[i], ROW_GROUP)
            found.setdefault(parts[i], {}).setdefault(group, set()).add(row)
        return found

    def _keep(self, rows: Iterable[Row[R]]) -> None:
        with self._lock:
            self._recent |= {row.key: row for row in rows} if self.at_hand else {}
            for key in list(self._recent)[: -self.at_hand]:
                del self._recent[key]

    def _read_rows(
        self, part: str, groups: Mapping[int, set[int]], columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Rows of a part, given by row group, AT_ONCE or fewer at a time and in the part's order.

        One damaged where an index does not look is set aside, as InfrastructureError.
        """
        try:
            if part not in self.torn:
                with self.folder.open(part) as stream:
                    parts = pq.ParquetFile(stream)
                    for g, rows in groups.items():
                        first = 0
                        # Batches run side by side: more threads for one cost processor time and bring nothing.
                        for piece in parts.iter_batches(AT_ONCE, row_groups=[g], columns=columns, use_threads=False):
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

    def columns(self, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows as plain data, each clip once, of which only the leaves at these Parquet paths are read."""
        for table in self._tables(paths):
            yield from table.to_pylist()

    def _tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        with self._lock:
            wanted = self._by_part(self._places.values())
        for part, groups in wanted.items():
            yield from self._read_rows(part, groups, columns)

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
            fresh = [row for row in rows if row.key not in self._places]
            if name not in self._seen:
                self._take_in(name)
            # A clip that had a row keeps that one, and failed attempts are not read again.
            self._keep(row for row in fresh if row.key in self._places)

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
