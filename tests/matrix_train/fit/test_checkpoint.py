"""Checkpoints are whole or absent, old ones go, and what a continuation may change is told from what it may not."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from matrix_train.config import load_config
from matrix_train.errors import UserError
from matrix_train.fit.checkpoint import (
    Checkpoint,
    State,
    binding_settings,
    check_resumable,
    checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from tests.matrix_train.fitting import TINY

STREAM = {"position": 0, "dataset": "abc", "samples": 0, "skips": {}, "bad": [], "seen": "ff"}


def state(step: int, worlds: int = 1, *sets: str) -> State:
    settings = binding_settings(load_config(TINY, list(sets)))
    return State(step=step, seconds=1.5, streams=[STREAM | {"position": step}] * worlds, settings=settings)


def write(run: Path, step: int, keep: int = 3) -> Path:
    weights = {"backbone.a": torch.full((2, 3), float(step)), "decoders.sga.b": torch.tensor(1.0)}
    moments = {name: {"step": torch.tensor(7.0), "exp_avg": value * 2} for name, value in weights.items()}
    return write_checkpoint(run, state(step), weights, moments, {"rank": "4"}, keep)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    back: Checkpoint = read_checkpoint(write(tmp_path, 12))
    assert back.state == state(12)
    assert torch.equal(back.trainable["backbone.a"], torch.full((2, 3), 12.0))
    assert back.optimizer["decoders.sga.b"]["exp_avg"] == 2.0
    assert back.optimizer["backbone.a"]["step"] == 7.0


def test_the_newest_are_kept_and_half_written_ones_are_not_seen(tmp_path: Path) -> None:
    for step in (2, 4, 6, 100000):
        write(tmp_path, step, keep=2)
    (tmp_path / "checkpoints/.step-00000200.part").mkdir()
    (tmp_path / "checkpoints/notes").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000006", "step-00100000"]


def test_a_checkpoint_left_half_written_does_not_stand_in_the_way(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints/.step-00000004.part"
    left.mkdir(parents=True)
    (left / "state.json").write_text("cut")
    assert read_checkpoint(write(tmp_path, 4)).state.step == 4


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 2)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*step-00000004: No space left on device; checkpoints before"):
        write(tmp_path, 4)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("name", ["state.json", "optimizer.safetensors", "trainable.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_damage_is_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = write(tmp_path, 4)
    (path / name).unlink() if content is None else (path / name).write_bytes(content)
    with pytest.raises(UserError, match="is damaged: delete it to resume from the one before"):
        read_checkpoint(path)


@pytest.mark.parametrize("edit", [{"position": "soon"}, {"seen": "xyz"}, {"bad": [["key"]]}, {"more": 1}])
def test_a_place_in_the_data_that_was_edited_is_one_line(tmp_path: Path, edit: dict[str, object]) -> None:
    path = write(tmp_path, 4)
    held = json.loads((path / "state.json").read_text())
    held["streams"][0] |= edit
    (path / "state.json").write_text(json.dumps(held))
    with pytest.raises(UserError, match="is damaged: delete it to resume from the one before"):
        read_checkpoint(path)


def test_what_does_not_change_the_training_may_change() -> None:
    config = load_config(TINY, ["log.every=3", "data.workers=0", "validation.every=0", "train.out=elsewhere"])
    check_resumable(state(4), config, world=1)


def test_what_changes_the_training_may_not() -> None:
    config = load_config(TINY, ["train.seed=5", "align.sga=0.5"])
    with pytest.raises(UserError) as error:
        check_resumable(state(4), config, world=2)
    for words in ("align.sga was 0.3, is 0.5", "train.seed was 0, is 5", "it ran with 1 processes, this has 2"):
        assert words in str(error.value)
