"""Data sets without held-out clips, and clips in which nobody is tracked: for `analyze` and `sample --dataset`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from matrix_train.errors import UserError
from schemas.dataset import DATASET_FILE, DatasetFile
from schemas.idmap import decode_id_map, encode_id_map
from tests.matrix_train.data.shards import Files, edit_json, rows_of, tamper, write_index
from tests.matrix_train.fitting import TINY, sets, settings, small_config
from tests.matrix_train.sample.test_sample import run


def test_no_held_out_clip_is_told_with_what_to_do(dataset: Path, sampled_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ds"
    shutil.copytree(dataset, copy)
    account = DatasetFile.model_validate_json((copy / DATASET_FILE).read_bytes())
    shards = tuple(shard.model_copy(update={"split": "train"}) for shard in account.shards)
    (copy / DATASET_FILE).write_text(account.model_copy(update={"shards": shards}).model_dump_json())
    write_index(copy, [row.model_copy(update={"split": "train"}) for row in rows_of(copy)])
    words = ("analyze", TINY, *sets(settings(copy, tmp_path / "run")), "--out", tmp_path / "A")
    for asked in (words, ("sample", sampled_run, "--dataset", copy, "--out", tmp_path / "F")):
        with pytest.raises(
            UserError, match=r"no sample in split 'val' of its 12: build it with shard\.val_share above 0"
        ):
            run(*asked)


def untracked(files: Files) -> Files:
    """Tracks that show nobody, and the ID map of them."""
    blank = encode_id_map(np.zeros_like(decode_id_map(files["idmap.png"])))

    def hide(document: dict[str, dict[str, list[None]]]) -> None:
        document["tracks"] = {name: [None] * len(masks) for name, masks in document["tracks"].items()}

    return edit_json(files, "tracks.json", hide) | {"idmap.png": blank}


def without_tracks(files: Files) -> Files:
    return edit_json(untracked(files), "tracks.json", lambda document: document.update(tracks={}))


def test_clips_without_tracks_are_left_out_and_named(dataset: Path, sampled_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ds"
    shutil.copytree(dataset, copy)
    hidden, bare, good = (row.key for row in rows_of(copy) if row.split == "val")
    tamper(copy, hidden, untracked)
    tamper(copy, bare, without_tracks)
    small_config(dataset, tmp_path / "run")
    words = ("analyze", TINY, *sets(settings(copy, tmp_path / "run")), "--steps", 1, "--out")
    said = run(*words, tmp_path / "A")
    assert (said["clips"], said["left_out"]) == (1, 2)
    assert set(pq.read_table(tmp_path / "A/analysis.parquet")["clip"].to_pylist()) == {good}
    found = run("sample", sampled_run, "--dataset", copy, "--steps", 1, "--out", tmp_path / "F", code=1)
    assert found["made"] == [good]
    assert found["failed"] == {
        hidden: "the mask of id1 is empty: give one that shows it, or leave id1 out", bare: "id1 has no track",
    }  # fmt: skip
    # The clip that was made can be evaluated beside what is left of the others.
    (line,) = (json.loads(line) for line in (tmp_path / "F/prompts.jsonl").read_text().splitlines())
    prompts, again = tmp_path / "p.jsonl", ("--judge", "tracks", "--out", tmp_path / "E")
    told = rf"none of 1 videos could be judged; the first: {good}\.mp4: no track of id1, which the prompt names"
    for tracks in ({}, {own["id"]: [None] * 5 for own in line["instances"]}):
        (tmp_path / "t.tracks.json").write_text(json.dumps({"size": [64, 96], "tracks": tracks}))
        prompts.write_text(json.dumps(line | {"idmap": None, "tracks": "t.tracks.json"}))
        with pytest.raises(UserError, match=told):
            run("evaluate", tmp_path / "F", "--prompts", prompts, *again)
    tamper(copy, good, untracked)
    with pytest.raises(UserError, match="none of 3 clips of split val can be analysed: see `matrix_train inspect`"):
        run(*words, tmp_path / "B")
