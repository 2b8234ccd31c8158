"""Damage done to real shards: an entry's files or bytes changed on disk, with the index telling of their new places."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from matrix_train.attention.grid import Grid
from matrix_train.data import DataConfig
from schemas.arrow import from_table
from schemas.dataset import DATASET_FILE, INDEX_FILE, DatasetFile, IndexRow
from tasks.dataset.reader import read_raw
from tasks.dataset.tar import TarWriter
from tasks.store.folder import Folder
from tests.builders import encode_index

FRAMES, HEIGHT, WIDTH = 9, 96, 144
GRID = Grid(3, HEIGHT // 16, WIDTH // 16, latent_frames=3, time_factor=4)

Files = dict[str, bytes]


def config(folder: Path, **changes: Any) -> DataConfig:
    """For the clips that `tests.builders` draws, at their own size."""
    defaults = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH, "workers": 0, "max_bad_share": 1.0}
    return DataConfig(**{"dataset": str(folder), **defaults, **changes})


def rows_of(folder: Path) -> list[IndexRow]:
    return from_table(pq.read_table(folder / INDEX_FILE), IndexRow)


def files_of(folder: Path, row: IndexRow) -> Files:
    return next(raw.files for raw in read_raw(Folder(str(folder)), row.shard) if raw.key == row.key)


def write_index(folder: Path, rows: list[IndexRow]) -> None:
    """The index and all that `dataset.json` says about it and the shards as they now are."""
    data = encode_index(rows)
    (folder / INDEX_FILE).write_bytes(data)
    account = DatasetFile.model_validate_json((folder / DATASET_FILE).read_bytes())
    shards = tuple(shard.model_copy(update=_now(folder / shard.name, shard.bytes)) for shard in account.shards)
    changed = account.model_copy(update={"index_sha256": hashlib.sha256(data).hexdigest(), "shards": shards})
    (folder / DATASET_FILE).write_text(changed.model_dump_json())


def _now(shard: Path, least: int) -> dict[str, Any]:
    data = shard.read_bytes()
    return {"bytes": max(least, len(data)), "sha256": hashlib.sha256(data).hexdigest()}


def tamper(folder: Path, key: str, change: Callable[[Files], Files], **row_changes: Any) -> None:
    """Writes the shard of `key` again with the files that `change` makes of the entry's; the index follows.

    Places and sizes in the index are those of the new shard; other columns change by `row_changes` only.
    """
    rows = rows_of(folder)
    shard = next(row.shard for row in rows if row.key == key)
    places: dict[str, dict[str, int]] = {}
    entries = list(read_raw(Folder(str(folder)), shard))
    with (folder / shard).open("wb") as stream, TarWriter(stream) as tar:
        for raw in entries:
            offset = tar.size
            for suffix, data in (change(raw.files) if raw.key == key else raw.files).items():
                tar.add(f"{raw.key}.{suffix}", data)
            places[raw.key] = {"offset": offset, "bytes": tar.size - offset}
    updated = [row.model_copy(update=places.get(row.key, {})) for row in rows]
    write_index(folder, [r.model_copy(update=row_changes) if r.key == key else r for r in updated])


def edit_json(files: Files, suffix: str, edit: Callable[[dict[str, Any]], object]) -> Files:
    """The files with one JSON file edited in place."""
    data = json.loads(files[suffix])
    edit(data)
    return {**files, suffix: json.dumps(data).encode()}
