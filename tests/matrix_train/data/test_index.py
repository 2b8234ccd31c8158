"""A folder that cannot be trained from says so in one line, before anything starts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from matrix_train.data import read_index
from matrix_train.errors import UserError
from schemas.dataset import DATASET_FILE, INDEX_FILE
from tests.matrix_train.data.shards import config, rows_of, write_index


def edit_account(folder: Path, **changes: object) -> None:
    path = folder / DATASET_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def drop_a_row(folder: Path) -> None:
    write_index(folder, rows_of(folder)[1:])


def move_a_row(folder: Path) -> None:
    first, *rest = rows_of(folder)
    write_index(folder, [first.model_copy(update={"offset": 10**9}), *rest])


def double_a_row(folder: Path) -> None:
    first, *rest = rows_of(folder)
    other = next(row for row in rest if row.shard == first.shard)
    write_index(folder, [first, *(first if row.key == other.key else row for row in rest)])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no account": (lambda f: (f / DATASET_FILE).unlink(), "no dataset.json in"),
    "account cut": (lambda f: (f / DATASET_FILE).write_text('{"schema_version": 1, '), "dataset.json in .* is damaged"),
    "account of a list": (lambda f: (f / DATASET_FILE).write_text("[]"), "dataset.json in .* is damaged"),
    "account lacks shards": (lambda f: edit_account(f, shards=None), "is damaged: shards"),
    "later schema": (lambda f: edit_account(f, schema_version=99, novelty=1), "has schema version 99"),
    "no index": (lambda f: (f / INDEX_FILE).unlink(), "no index.parquet"),
    "other index": (lambda f: (f / INDEX_FILE).write_bytes(b"PAR1"), "its SHA-256 is not the one"),
    "fewer rows": (drop_a_row, "are not what dataset.json lists"),
    "row beyond the shard": (move_a_row, "does not lie within"),
    "one key twice": (double_a_row, "a key is listed twice"),
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_a_damaged_folder(damaged, name) -> None:
    damage, words = DAMAGE[name]
    damage(damaged)
    with pytest.raises(UserError, match=words) as caught:
        read_index(config(damaged), "train")
    assert "\n" not in str(caught.value)


def test_an_empty_split(damaged) -> None:
    rows = rows_of(damaged)
    kept = [row for row in rows if row.split == "train"]
    shards = [s for s in json.loads((damaged / DATASET_FILE).read_text())["shards"] if s["split"] == "train"]
    edit_account(damaged, shards=shards)
    write_index(damaged, kept)
    with pytest.raises(UserError, match="no sample in split 'val'"):
        read_index(config(damaged), "val")


@pytest.mark.parametrize("url", ["nonsense://bucket/data", "http://127.0.0.1:9/data"])
def test_a_folder_that_cannot_be_reached(url, tmp_path) -> None:
    with pytest.raises(UserError, match=r"cannot read dataset.json in"):
        read_index(config(tmp_path, dataset=url), "train")


def test_a_split_is_its_own_rows(dataset) -> None:
    train, val = (read_index(config(dataset), split).rows for split in ("train", "val"))
    assert len(train) + len(val) == 12
    assert {row.split for row in val} == {"val"}
    assert [row.key for row in train] == sorted(row.key for row in train)


def test_the_one_dataset_in_a_folder_is_found(dataset, tmp_path) -> None:
    """`make demo` and `matrix_data build` leave a folder for each fingerprint."""
    shutil.copytree(dataset, tmp_path / "out/3f2a")
    found = read_index(config(tmp_path / "out"), "train")
    assert found.source.url == str(tmp_path / "out/3f2a")
    assert found[1:3] == read_index(config(dataset), "train")[1:3]
    shutil.copytree(dataset, tmp_path / "out/77aa")
    with pytest.raises(UserError, match="holds 2 datasets: give one of 3f2a, 77aa"):
        read_index(config(tmp_path / "out"), "train")
