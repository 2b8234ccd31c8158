"""A finished dataset as exports read it: the chosen samples one at a time, each held against what the index says."""

import hashlib
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas import Sample, TrackFile
from schemas.base import InstanceId
from schemas.dataset import DATASET_FILE, INDEX_FILE, DatasetFile, IndexRow
from schemas.labels import Labels, relabel
from schemas.palette import number
from schemas.review import REVIEW_FILE
from schemas.text import one_line
from tasks.dataset.reader import (
    DatasetError,
    index_rows,
    open_labels,
    read_dataset,
    read_parts,
)
from tasks.errors import UserError
from tasks.exports.choosing import Test
from tasks.media.clips import decode_mask
from tasks.shard.entry import entry_of
from tasks.store.folder import Folder

_AT_ONCE = 1024
"""Index rows that are put into the order of the shards together: no more are held."""


@dataclass(frozen=True)
class Item:
    """A chosen sample: its row, and those files of its entry that were asked for, by suffix."""

    place: int
    """Its place among the chosen, from 1 on."""
    row: IndexRow
    files: dict[str, bytes]

    @cached_property
    def sample(self) -> Sample:
        """DatasetError where it is not what the index was written over."""
        try:
            sample = Sample.model_validate_json(self.files["json"])
        except ValidationError as error:
            raise self.damaged(f".json: {one_line(error)}") from None
        if sample.clip_id != self.row.key:
            raise self.damaged(f".json is of clip {sample.clip_id}")
        return sample

    @cached_property
    def tracks(self) -> TrackFile:
        """Of exactly the sample's IDs and frames, in the order of their numbers. DatasetError."""
        try:
            found = TrackFile.model_validate_json(self.files["tracks.json"])
        except ValidationError as error:
            raise self.damaged(f".tracks.json: {one_line(error)}") from None
        frames = {len(masks) for masks in found.tracks.values()}
        if set(found.tracks) != set(self.row.ids) or frames != {self.row.frames}:
            raise self.damaged(".tracks.json has other IDs or frames than the index")
        if found.size != (self.row.height, self.row.width):
            raise self.damaged(".tracks.json has masks of another size than the clip")
        return found.model_copy(update={"tracks": {k: found.tracks[k] for k in sorted(found.tracks, key=number)}})

    @cached_property
    def mp4(self) -> bytes:
        """DatasetError where it is not the clip that the index speaks of."""
        data = self.files["mp4"]
        if hashlib.sha256(data).hexdigest() != self.row.media_digest:
            raise self.damaged(".mp4 is not the clip that it was")
        return data

    def masks(self, name: InstanceId) -> Iterator[NDArray[np.bool_]]:
        """The ID's mask [H, W] in every frame; all False where nothing of it is visible. DatasetError."""
        height, width = self.tracks.size
        for frame, mask in enumerate(self.tracks.tracks[name]):
            try:
                yield decode_mask(mask.counts if mask else None, height, width)
            except ValueError as error:
                raise self.damaged(f"mask of {name} at frame {frame}: {error}") from None

    def damaged(self, what: str) -> DatasetError:
        return DatasetError(f"{self.row.shard}: {self.row.key}{what}; see `matrix_data verify`")


@dataclass(frozen=True)
class Dataset:
    """A dataset whose index is the one that its account was written with."""

    folder: Folder
    account: DatasetFile
    labels: Labels
    """What people said since: it wins over the shards."""

    def chosen(self, test: Test, limit: int | None) -> Iterator[IndexRow]:
        """The rows that pass as people left them, at most `limit`, in the order of the shards; some are held at a time.

        Samples that people dropped whole are among them (`labels.dropped`), so that who asked can say so.
        """
        with self.folder.open(INDEX_FILE) as stream:
            rows = index_rows(stream)
            while some := list(itertools.islice(rows, _AT_ONCE)):
                for row in sorted(map(self.labels.row, some), key=lambda r: (r.split, r.shard, r.offset)):
                    if limit is not None and limit <= 0:
                        return
                    if test(row):
                        limit = None if limit is None else limit - 1
                        yield row

    def items(self, rows: list[tuple[int, IndexRow]], wanted: Collection[str]) -> Iterator[Item]:
        """Rows with their places, and what is wanted of their entries, one in memory at a time, as people left them."""
        labelled = {"json", "tracks.json"} if any(row.key in self.labels for _, row in rows) else set[str]()
        files = read_parts(self.folder, [row for _, row in rows], labelled.union(wanted))
        for (place, row), found in zip(rows, files, strict=True):
            yield self._labelled(Item(place, row, found)) if row.key in self.labels else Item(place, row, found)

    def _labelled(self, item: Item) -> Item:
        """The item under its labels; only its mp4 stays as it is. DatasetError where they do not belong together."""
        try:
            tracks = TrackFile.model_validate_json(item.files["tracks.json"])
            entry = entry_of(*relabel(item.sample, tracks, self.labels.of(item.row.key)))
        except ValueError as error:
            raise item.damaged(f": .tracks.json or {REVIEW_FILE}: {one_line(error)}") from None
        return replace(item, files={k: entry.files.get(k, data) for k, data in item.files.items()})


def open_dataset(folder: Folder) -> Dataset:
    """UserError where there is no finished dataset, DatasetError where its account and its index disagree."""
    account = read_dataset(folder)
    if account is None:
        raise UserError(f"no {DATASET_FILE} in {folder.uri}: give a finished dataset, or the --out of a build")
    digest = hashlib.sha256()
    try:
        with folder.open(INDEX_FILE) as stream:
            while data := stream.read(1 << 20):
                digest.update(data)
    except FileNotFoundError:
        raise DatasetError(f"no {INDEX_FILE} in {folder.uri}: copy the whole folder") from None
    if digest.hexdigest() != account.index_sha256:
        raise DatasetError(f"{INDEX_FILE} in {folder.uri} is not the one that {DATASET_FILE} was written with")
    return Dataset(folder, account, open_labels(folder))
