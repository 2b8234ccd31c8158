"""A clip whose mp4 cannot be had: the others are written, and it comes when it is made again."""

import errno
from pathlib import Path

import pytest

from tasks.dataset.check import verify
from tasks.dataset.reader import decode_index
from tasks.errors import InfrastructureError
from tasks.outcome import Case
from tasks.shard.stage import ShardSettings
from tasks.store.folder import TEMPORARY, Folder
from tests.builders import Sharding, make_case

SETTINGS = ShardSettings(max_samples=3, val_share=0)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """In the order of their keys."""
    made = [make_case(Folder(str(tmp_path / "work")), seed, frames=5) for seed in range(4)]
    return sorted(made, key=lambda case: case.clip.clip_id)


class Losing(Sharding):
    """Some clips' files cannot be had."""

    lost: dict[str, Exception]

    def mp4(self, case: Case) -> bytes:
        if case.clip.clip_id in self.lost:
            raise self.lost[case.clip.clip_id]
        return super().mp4(case)


def losing(root: Path, lost: dict[str, Exception], dest: str = "d") -> Losing:
    sharding = Losing(Folder(str(root / "work")), Folder(str(root / dest)), SETTINGS)
    sharding.lost = lost
    return sharding


def published(root: Path, dest: str = "d") -> set[str]:
    return {row.key for row in decode_index(Folder(str(root / dest)).read("index.parquet"))}


@pytest.mark.parametrize("which", [(0,), (1, 3), (0, 1, 2, 3)])
def test_the_others_are_written_and_the_first_error_is_told(
    tmp_path: Path, cases: list[Case], which: tuple[int, ...]
) -> None:
    keys = [case.clip.clip_id for case in cases]
    sharding = losing(tmp_path, {keys[n]: InfrastructureError(f"{keys[n]} is gone") for n in which})
    with pytest.raises(InfrastructureError, match=f"{keys[which[0]]} is gone"):
        sharding.run(cases)
    rest = [key for n, key in enumerate(keys) if n not in which]
    assert sharding.store().accepted() == rest
    sharding.run([case for case in cases if case.clip.clip_id in rest])
    assert (published(tmp_path) if rest else set()) == set(rest)
    sharding.lost = {}
    new = sharding.run(cases)
    assert [row.key for row in new] == [keys[n] for n in which] and published(tmp_path) == set(keys)
    assert verify(Folder(str(tmp_path / "d"))) == []


def test_the_bytes_are_those_of_a_build_without_the_lost_clip(tmp_path: Path, cases: list[Case]) -> None:
    lost = cases[1].clip.clip_id
    sharding = losing(tmp_path, {lost: InfrastructureError("gone")})
    with pytest.raises(InfrastructureError):
        sharding.run(cases)
    rest = [case for case in cases if case.clip.clip_id != lost]
    sharding.run(rest)
    losing(tmp_path, {}, "without").run(rest)
    one, two = Folder(str(tmp_path / "d")), Folder(str(tmp_path / "without"))
    assert one.names() == two.names()
    assert all(one.read(name) == two.read(name) for name in one.names())


@pytest.mark.parametrize("error", [TimeoutError("no answer"), OSError(errno.EMFILE, "Too many open files")])
def test_what_would_meet_every_clip_ends_the_run_and_loses_none(
    tmp_path: Path, cases: list[Case], error: OSError
) -> None:
    sharding = losing(tmp_path, {cases[1].clip.clip_id: error})
    with pytest.raises(type(error)):
        sharding.run(cases)
    assert not [name for name in sharding.dataset.names() if name.startswith(TEMPORARY)]
    sharding.lost = {}
    assert len(sharding.run(cases)) == 4 and verify(sharding.dataset) == []
