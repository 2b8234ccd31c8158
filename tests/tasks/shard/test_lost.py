"""A clip whose mp4 is lost is told and left out; the others are written, and it comes back when it is made again."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas import Reason
from tasks.dataset.check import verify
from tasks.dataset.reader import decode_index
from tasks.outcome import Case
from tasks.shard.stage import DatasetSummary, ShardSettings, write_dataset
from tasks.store.folder import Folder
from tests.builders import FINGERPRINTS, kin_of, make_case

SETTINGS = ShardSettings(max_samples=3, val_share=0)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [make_case(Folder(str(tmp_path / "work")), seed, frames=5) for seed in range(4)]


def build(root: Path, cases: list[Case], dest: str = "d", work: Folder | None = None) -> DatasetSummary:
    by_key = {c.clip.clip_id: c for c in cases}
    return write_dataset(
        list(by_key), by_key.__getitem__, kin_of(cases), work or Folder(str(root / "work")),
        Folder(str(root / dest)), SETTINGS, FINGERPRINTS,
    )  # fmt: skip


def keys(root: Path) -> set[str]:
    return {row.key for row in decode_index(Folder(str(root / "d")).read("index.parquet"))}


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "is gone since ingest"),
    "another": (lambda path: path.write_bytes(b"another video"), "has changed since ingest"),
    "empty": (lambda path: path.write_bytes(b""), "has changed since ingest: 0 bytes"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has changed since ingest"),
    "a folder": (folder_instead, "is gone since ingest"),
    "a dead link": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "is gone since ingest"),
}


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("which", [(0,), (1, 3), (0, 1, 2, 3)])
def test_the_others_are_written(tmp_path: Path, cases: list[Case], how: str, which: tuple[int, ...]) -> None:
    lose, told = LOSSES[how]
    ordered = sorted(cases, key=lambda c: c.clip.clip_id)
    shutil.copytree(tmp_path / "work", tmp_path / "whole")
    for n in which:
        lose(tmp_path / "work" / ordered[n].clip.path)
    summary = build(tmp_path, cases)
    assert [c.key for c in summary.left_out] == [ordered[n].clip.clip_id for n in which]
    assert {c.reason for c in summary.left_out} == {Reason.CLIP_LOST}
    assert all(told in c.detail and "\n" not in c.detail for c in summary.left_out)
    assert summary.added == summary.counts.samples == 4 - len(which)
    assert keys(tmp_path) == {c.clip.clip_id for n, c in enumerate(ordered) if n not in which}
    assert verify(Folder(str(tmp_path / "d"))) == []
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "whole").rename(tmp_path / "work")
    later = build(tmp_path, cases)
    assert (later.left_out, later.added, later.counts.samples) == ((), len(which), 4)
    assert verify(Folder(str(tmp_path / "d"))) == []


def test_the_bytes_are_those_of_a_build_without_the_lost_clip(tmp_path: Path, cases: list[Case]) -> None:
    lost = max(cases, key=lambda c: c.clip.clip_id)
    rest = [c for c in cases if c is not lost]
    (tmp_path / "work" / lost.clip.path).unlink()
    build(tmp_path, cases)
    build(tmp_path, rest, "without")
    one, two = Folder(str(tmp_path / "d")), Folder(str(tmp_path / "without"))
    assert one.names() == two.names()
    assert all(one.read(name) == two.read(name) for name in one.names())


class FailingDisk(Folder):
    """One file that cannot be read, as the system says it."""

    def __init__(self, uri: str, name: str, error: Exception) -> None:
        super().__init__(uri)
        self.bad, self.error = name, error

    def read(self, name: str) -> bytes:
        if name == self.bad:
            raise self.error
        return super().read(name)


def test_a_bad_block_is_of_one_file(tmp_path: Path, cases: list[Case]) -> None:
    clip = cases[1].clip
    disk = FailingDisk(str(tmp_path / "work"), clip.path, OSError(errno.EIO, "Input/output error"))
    summary = build(tmp_path, cases, work=disk)
    assert [c.key for c in summary.left_out] == [clip.clip_id]
    assert summary.added == 3


@pytest.mark.parametrize("error", [TimeoutError("no answer"), OSError(errno.EMFILE, "Too many open files")])
def test_what_would_meet_every_clip_ends_the_run_and_loses_none(
    tmp_path: Path, cases: list[Case], error: OSError
) -> None:
    disk = FailingDisk(str(tmp_path / "work"), cases[1].clip.path, error)
    with pytest.raises(type(error)):
        build(tmp_path, cases, work=disk)
    assert build(tmp_path, cases).added == 4
