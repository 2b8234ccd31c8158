"""A finished dataset by its index: searched, filtered, counted and sorted in memory; entries read by byte range."""

import hashlib
import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas import Record, Sample, TrackFile
from schemas.arrow import arrow_schema, from_table, to_table
from schemas.base import Count
from schemas.dataset import INDEX_FILE, DatasetFile, IndexRow
from schemas.labels import Labels, Said, relabel
from schemas.review import REVIEW_FILE
from schemas.text import one_line
from tasks.dataset.reader import DatasetError, open_labels, read_dataset, read_parts
from tasks.errors import UserError
from tasks.media.clips import read_frames
from tasks.store.folder import Folder

Sort = Literal["key", "contact", "dynamism", "ids", "size", "caption"]

People = Literal["nobody", "kept", "dropped"]

Mask = NDArray[np.bool_]


class Wanted(Record):
    """What a person looks for. Empty and zero mean all."""

    text: str = ""
    verb: str = ""
    noun: str = ""
    source: str = ""
    license: str = ""
    split: str = ""
    group: str = ""
    contact: int = 0
    """That some interaction of the sample has exactly; with `dynamism`, the same interaction both."""
    dynamism: int = 0
    ids: int = 0
    interactions: int = 0
    people: People | Literal[""] = ""
    """What they said since the dataset was made."""
    side_from: float = 0.0
    """Of the smallest track: sqrt(mask area) / shorter image side."""
    side_to: float = 0.0
    sort: Sort = "key"
    down: bool = False
    start: Count = 0
    """How many of what is found to go past."""


class Samples:
    """One dataset. The index is read once; it never changes while it is open."""

    def __init__(self, folder: Folder) -> None:
        """UserError where it is no dataset; DatasetError where the index is damaged."""
        account = read_dataset(folder)
        if account is None:
            raise UserError(f"no dataset.json in {folder.uri}: give the folder of a dataset")
        self.folder, self.account = folder, account
        self.labels = open_labels(folder)
        self.table = _as_left(_index(folder, account), self.labels)
        self._rows = {key: at for at, key in enumerate(self.table["key"].to_pylist())}
        self._lists: dict[str, tuple[pa.Array, NDArray[np.int64]]] = {}
        for name in ("verbs", "nouns", "contact", "dynamism", "sides"):
            column = self.table[name].combine_chunks()
            self._lists[name] = (column.flatten(), np.asarray(pc.list_parent_indices(column)))
        rated = [np.asarray(self._lists[name][0]) for name in ("contact", "dynamism")]
        self._contact, self._dynamism = rated
        self._people = np.full(len(self.table), "nobody", dtype="U7")
        for key in self.labels:
            self._people[self._rows[key]] = "dropped" if key in self.labels.dropped else "kept"
        self._least = np.full(len(self.table), np.inf)
        np.minimum.at(self._least, self._lists["sides"][1], np.asarray(self._lists["sides"][0]))

    def __len__(self) -> int:
        return len(self.table)

    def find(self, wanted: Wanted) -> NDArray[np.int64]:
        """Places in the index of the samples that fit, in the wanted order."""
        fits = np.ones(len(self.table), dtype=bool)
        if wanted.text:
            fits &= _bools(pc.match_substring(self.table["caption"], wanted.text, ignore_case=True))
        for name, value in (("verbs", wanted.verb), ("nouns", wanted.noun)):
            if value:
                fits &= self._any(name, _bools(pc.equal(self._lists[name][0], value)))
        for name in ("split", "group"):
            if value := getattr(wanted, name):
                fits &= _bools(pc.equal(self.table[name], value))
        if wanted.source:
            fits &= _bools(pc.equal(self.table["dataset"], wanted.source))
        if wanted.license:
            fits &= _bools(pc.equal(pc.fill_null(self.table["license"], "not stated"), wanted.license))
        if wanted.contact or wanted.dynamism:
            cell = np.ones(len(self._contact), dtype=bool)
            cell &= (self._contact == wanted.contact) if wanted.contact else True
            cell &= (self._dynamism == wanted.dynamism) if wanted.dynamism else True
            fits &= self._any("contact", cell)
        for name, count in (("instances", wanted.ids), ("interactions", wanted.interactions)):
            if count:
                fits &= np.asarray(self.table[name]) == count
        if wanted.people:
            fits &= self._people == wanted.people
        fits &= self._least >= wanted.side_from
        if wanted.side_to:
            fits &= self._least < wanted.side_to
        return self._sorted(np.flatnonzero(fits), wanted)

    def _any(self, name: str, holds: Mask) -> Mask:
        """Which samples have an item of a list column for which it holds."""
        found = np.zeros(len(self.table), dtype=bool)
        found[self._lists[name][1][holds]] = True
        return found

    def _sorted(self, places: NDArray[np.int64], wanted: Wanted) -> NDArray[np.int64]:
        if wanted.sort == "key":
            return places[::-1] if wanted.down else places  # as the index is
        if wanted.sort == "caption":
            order = np.asarray(pc.sort_indices(self.table["caption"].take(pa.array(places))))
        else:
            order = np.argsort(self._measure(wanted.sort)[places], kind="stable")
        ordered: NDArray[np.int64] = places[order[::-1] if wanted.down else order]
        return ordered

    def _measure(self, name: str) -> NDArray[Any]:
        if name == "ids":
            return np.asarray(self.table["instances"], dtype=np.int64)
        if name == "size":
            return self._least
        most = np.zeros(len(self.table))
        np.maximum.at(most, self._lists[name][1], self._contact if name == "contact" else self._dynamism)
        return most

    def rows(self, places: NDArray[np.int64]) -> list[IndexRow]:
        """The rows at these places."""
        return from_table(self.table.take(pa.array(places)), IndexRow)

    def row(self, key: str) -> IndexRow:
        """KeyError for one that is not there."""
        return self.rows(np.array([self._rows[key]]))[0]

    def counts(self, places: NDArray[np.int64]) -> dict[str, Any]:
        """Histograms over some samples: contact × dynamism, numbers of IDs and interactions, the words most used."""
        inside = np.zeros(len(self.table), dtype=bool)
        inside[places] = True
        mine = inside[self._lists["contact"][1]]
        cells = np.zeros((5, 5), np.int64)
        np.add.at(cells, (self._contact[mine] - 1, self._dynamism[mine] - 1), 1)
        some = self.table.take(pa.array(places))
        return {
            "cells": cells.tolist(),
            "ids": _counted(some["instances"]),
            "interactions": _counted(some["interactions"]),
            **{name: self._words(name, inside) for name in ("verbs", "nouns")},
            "source": _counted(some["dataset"]),
            "license": _counted(pc.fill_null(some["license"], "not stated")),
            "split": _counted(some["split"]),
            "people": _counted(pa.array(self._people[places])) if len(self.labels) else [],
        }

    def _words(self, name: str, inside: Mask) -> list[tuple[str, int]]:
        values, parents = self._lists[name]
        return _counted(values.filter(pa.array(inside[parents])))[:40]

    def entry(self, key: str) -> tuple[Sample, TrackFile, Said]:
        """A sample without its video, as people left it, and their labels: two small files out of its shard, no more.

        One that people dropped is as the shard has it.
        """
        sample, tracks = self._left(key, self._parts(key, "json", "tracks.json"))
        return sample, tracks, self.labels.of(key)

    def mp4(self, key: str) -> bytes:
        """Its video."""
        return self._parts(key, "mp4")["mp4"]

    def first(self, key: str) -> tuple[NDArray[np.uint8], TrackFile]:
        """The first frame, RGB uint8 [H, W, 3], and the tracks as people left them.

        ValueError or av.FFmpegError where a file of it is damaged.
        """
        parts = self._parts(key, "mp4", "json", "tracks.json")
        return read_frames(io.BytesIO(parts["mp4"]), 1)[0], self._left(key, parts)[1]

    def _parts(self, key: str, *suffixes: str) -> dict[str, bytes]:
        (parts,) = read_parts(self.folder, [self.row(key)], suffixes)
        return parts

    def _left(self, key: str, parts: Mapping[str, bytes]) -> tuple[Sample, TrackFile]:
        sample, tracks = Sample.model_validate_json(parts["json"]), TrackFile.model_validate_json(parts["tracks.json"])
        if key in self.labels and key not in self.labels.dropped:
            sample, tracks = relabel(sample, tracks, self.labels.of(key))
        return sample, tracks


def _as_left(table: pa.Table, labels: Labels) -> pa.Table:
    """The index as people left its samples. DatasetError where they speak of samples that it does not have."""
    said = pc.is_in(table["key"], pa.array(list(labels), pa.string()))
    rows = [labels.row(row) for row in from_table(table.filter(said), IndexRow)]
    if len(rows) != len(labels):
        raise DatasetError(f"{REVIEW_FILE} speaks of samples that {INDEX_FILE} does not have: is it of this dataset?")
    if not rows:
        return table
    return pa.concat_tables([table.filter(pc.invert(said)), to_table(rows, IndexRow)]).sort_by("key")


def _index(folder: Folder, account: DatasetFile) -> pa.Table:
    try:
        data = folder.read(INDEX_FILE)
    except FileNotFoundError:
        raise DatasetError(f"{INDEX_FILE} is missing; see `matrix_data verify`") from None
    if hashlib.sha256(data).hexdigest() != account.index_sha256:
        raise DatasetError(f"{INDEX_FILE} is not the file that dataset.json was written with; see `matrix_data verify`")
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{INDEX_FILE} is damaged: {one_line(error)}") from None
    if not table.schema.equals(arrow_schema(IndexRow)):
        raise DatasetError(f"{INDEX_FILE} has other columns than this version writes")
    return table


def _bools(found: pa.ChunkedArray | pa.Array) -> Mask:
    return np.asarray(found).astype(bool)


def _counted(column: pa.ChunkedArray | pa.Array) -> list[tuple[Any, int]]:
    """Values and how often each is there, the most frequent first."""
    found: list[Mapping[str, Any]] = pc.value_counts(column).to_pylist()
    return sorted(((f["values"], f["counts"]) for f in found), key=lambda pair: (-pair[1], str(pair[0])))
