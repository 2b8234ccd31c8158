"""Videos that look alike stand on one side of the split, and a clip near to both sides is on neither."""

from pathlib import Path

from schemas import Deduped, Reason, Row
from schemas.dataset import IndexRow, Sharded
from tasks.dataset.check import verify
from tasks.dataset.reader import decode_index
from tasks.dataset.split import split_of
from tasks.outcome import Case
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import Sharding, make_case

SHARE = 0.4
TRAIN, VAL = ([f"{n:016x}" for n in range(40) if split_of(f"{n:016x}", SHARE) == side] for side in ("train", "val"))
"""Groups that stand there."""


def kin(case: Case, group: str, *near: str) -> Case:
    return case.plus(case.of(Deduped).model_copy(update={"group": group, "near": near}))


def build(root: Path, cases: list[Case]) -> list[Row[Sharded]]:
    settings = ShardSettings(max_samples=3, val_share=SHARE)
    return Sharding(Folder(str(root / "work")), Folder(str(root / "d")), settings).run(cases)


def rows(root: Path) -> list[IndexRow]:
    return decode_index(Folder(str(root / "d")).read("index.parquet"))


def windows(case: Case, count: int, first: int) -> list[Case]:
    """Clips of one source."""
    clips = (case.clip.model_copy(update={"clip_id": f"{first + n:016x}"}) for n in range(count))
    return [Case(clip, case.results) for clip in clips]


def test_windows_of_one_video_are_never_parted(tmp_path: Path) -> None:
    store = Folder(str(tmp_path / "work"))
    build(tmp_path, [c for n in range(6) for c in windows(make_case(store, n, frames=5), 4, 16 * n)])
    sides: dict[str, set[str]] = {}
    for row in rows(tmp_path):
        sides.setdefault(row.source_digest, set()).add(row.split)
    assert len(sides) == 6 and all(len(found) == 1 for found in sides.values())
    assert {split for found in sides.values() for split in found} == {"train", "val"}
    assert verify(Folder(str(tmp_path / "d"))) == []


def test_videos_of_one_group_are_never_parted(tmp_path: Path) -> None:
    store = Folder(str(tmp_path / "work"))
    build(tmp_path, [kin(make_case(store, n, frames=5), (TRAIN[0], VAL[0])[n % 2]) for n in range(6)])
    found = rows(tmp_path)
    assert {(row.group, row.split) for row in found} == {(TRAIN[0], "train"), (VAL[0], "val")}
    assert len(found) == 6 and verify(Folder(str(tmp_path / "d"))) == []


def test_a_clip_near_to_a_group_on_the_other_side_is_rejected_and_no_other(tmp_path: Path) -> None:
    store = Folder(str(tmp_path / "work"))
    made = [make_case(store, n, frames=5) for n in range(6)]
    cases = [
        kin(made[0], TRAIN[0]),
        kin(made[1], VAL[0]),
        kin(made[2], TRAIN[0], TRAIN[1]),
        kin(made[3], VAL[0], VAL[1], VAL[2]),
        kin(made[4], TRAIN[0], TRAIN[2], VAL[0]),
        kin(made[5], VAL[1], TRAIN[0]),
    ]
    found = {row.key: row for row in build(tmp_path, cases)}
    left = {key: row for key, row in found.items() if row.reason}
    assert left.keys() == {cases[4].clip.clip_id, cases[5].clip.clip_id}
    assert {row.reason for row in left.values()} == {Reason.NEAR_HELD_OUT}
    assert VAL[0] in (left[cases[4].clip.clip_id].detail or "") and TRAIN[0] in (
        left[cases[5].clip.clip_id].detail or ""
    )
    assert {row.key for row in rows(tmp_path)} == found.keys() - left.keys()
    assert verify(Folder(str(tmp_path / "d"))) == []
    assert build(tmp_path, cases) == [], "it is on record"
