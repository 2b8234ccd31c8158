"""Videos that look alike stand on one side of the split, in any order of arrival, and for good."""

import itertools
import random
from pathlib import Path

from schemas import Reason
from schemas.dataset import IndexRow
from tasks.dataset.check import verify
from tasks.dataset.reader import decode_index
from tasks.outcome import Case
from tasks.shard.groups import Kin, group_sources, split_of
from tasks.shard.stage import DatasetSummary, ShardSettings, write_dataset
from tasks.store.folder import Folder
from tests.builders import FINGERPRINTS, kin_of, make_case

SHARE = 0.4


def source(number: int) -> str:
    return f"{number:016x}"


TRAIN, VAL = (
    [s for s in map(source, range(40)) if split_of(s, SHARE) == side] for side in ("train", "val")
)  # sources that stand alone there


def kin(*near: tuple[str, str], alone: tuple[str, ...] = ()) -> Kin:
    """One clip a source, and a clip's ID is its source's."""
    sources = {*itertools.chain(*near), *alone}
    return Kin({s: s for s in sources}, dict(near))


def test_a_source_that_nothing_is_near_to_is_a_group() -> None:
    assert group_sources(kin(alone=(source(1), source(2))), {}, SHARE) == (
        {source(1): source(1), source(2): source(2)},
        {},
    )


def test_a_chain_is_one_group_whatever_its_order() -> None:
    chain = [source(n) for n in (7, 3, 9, 5, 8)]
    links = list(itertools.pairwise(chain))
    for seed in range(20):
        rng = random.Random(seed)
        some = [pair if rng.random() < 0.5 else pair[::-1] for pair in rng.sample(links, len(links))]
        clips = {f"{s}-{k}": s for s in chain for k in range(4)}
        near = {f"{a}-{k}": f"{b}-{k}" for k, (a, b) in enumerate(some)}
        groups, apart = group_sources(Kin(clips, near), {}, SHARE)
        assert groups == dict.fromkeys(chain, source(3)) and apart == {}


def test_what_stands_between_two_links_them_though_it_is_in_no_dataset() -> None:
    groups, _ = group_sources(kin((source(2), source(1)), (source(3), source(2))), {}, SHARE)
    assert groups[source(1)] == groups[source(3)]


def test_new_videos_follow_those_in_the_dataset() -> None:
    listed = {VAL[0]: VAL[0], TRAIN[0]: TRAIN[0], TRAIN[1]: TRAIN[1]}
    new = source(0xAA0), source(0xAA1), source(0xAA2)
    groups, apart = group_sources(
        kin((new[0], VAL[0]), (new[1], new[0]), (new[2], TRAIN[1]), (TRAIN[0], new[2])), listed, SHARE
    )
    assert groups[new[0]] == groups[new[1]] == VAL[0]
    assert groups[new[2]] == min(TRAIN[:2]) and groups[TRAIN[0]] == TRAIN[0] and groups[TRAIN[1]] == TRAIN[1]
    assert apart == {}


def test_a_bridge_is_trained_on_but_for_what_is_near_to_the_held_out() -> None:
    listed = {VAL[0]: VAL[0], TRAIN[0]: TRAIN[0]}
    one, two = source(0xAA0), source(0xAA1)
    groups, apart = group_sources(kin((one, VAL[0]), (two, one), (TRAIN[0], two)), listed, SHARE)
    assert groups[one] == groups[two] == TRAIN[0]
    assert apart == {one: VAL[0]}
    again, still = group_sources(kin((one, VAL[0]), (two, one), (TRAIN[0], two)), {**listed, two: groups[two]}, SHARE)
    assert still == apart and again == groups


def test_of_several_groups_on_one_side_the_first_is_taken() -> None:
    new = [source(0xAA0 + n) for n in range(len(TRAIN))]
    links = [*itertools.pairwise(new), *zip(TRAIN[::-1], new, strict=True)]
    groups, apart = group_sources(kin(*links), {s: s for s in TRAIN}, SHARE)
    assert {groups[s] for s in new} == {min(TRAIN)} and apart == {}


def test_a_clip_that_is_no_longer_on_record_links_nothing() -> None:
    groups, _ = group_sources(Kin({source(1): source(1), source(2): source(2)}, {source(1): source(9)}), {}, SHARE)
    assert groups == {source(1): source(1), source(2): source(2)}


def test_any_growth_keeps_sides_apart_and_moves_nothing() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        near: dict[str, str] = {}
        clips: dict[str, str] = {}
        listed: dict[str, str] = {}
        for number in range(40):
            for window in range(3):
                clip = f"{number}-{window}"
                if clips and rng.random() < 0.25:
                    near[clip] = rng.choice(sorted(c for c in clips if clips[c] != source(number)) or [clip])
                clips[clip] = source(number)
            if rng.random() < 0.2:  # a build
                groups, apart = group_sources(Kin(clips, near), listed, SHARE)
                assert all(groups[s] == g for s, g in listed.items())
                listed = {s: g for s, g in groups.items() if s not in apart}
        sides = {s: split_of(g, SHARE) for s, g in listed.items()}
        for clip, other in near.items():
            one, two = sides.get(clips[clip]), sides.get(clips[other])
            assert one == two or None in (one, two)


def build(root: Path, cases: list[Case], near: dict[str, str], share: float = SHARE) -> DatasetSummary:
    by_key = {c.clip.clip_id: c for c in cases}
    settings = ShardSettings(max_samples=3, val_share=share)
    folder, work = Folder(str(root / "d")), Folder(str(root / "work"))
    return write_dataset(list(by_key), by_key.__getitem__, kin_of(cases, near), work, folder, settings, FINGERPRINTS)


def rows(root: Path) -> list[IndexRow]:
    return decode_index(Folder(str(root / "d")).read("index.parquet"))


def windows(case: Case, count: int, first: int) -> list[Case]:
    """Clips of one source."""
    return [Case(case.clip.model_copy(update={"clip_id": f"{first + n:016x}"}), case.results) for n in range(count)]


def test_windows_of_one_video_are_never_parted(tmp_path: Path) -> None:
    store = Folder(str(tmp_path / "work"))
    cases = [c for n in range(6) for c in windows(make_case(store, n, frames=5), 4, 16 * n)]
    build(tmp_path, cases, {})
    sides: dict[str, set[str]] = {}
    for row in rows(tmp_path):
        sides.setdefault(row.source_digest, set()).add(row.split)
    assert len(sides) == 6 and all(len(found) == 1 for found in sides.values())
    assert {split for found in sides.values() for split in found} == {"train", "val"}
    assert verify(Folder(str(tmp_path / "d"))) == []


def test_a_bridge_between_the_sides_of_a_dataset_is_told(tmp_path: Path) -> None:
    store = Folder(str(tmp_path / "work"))
    made = [make_case(store, n, frames=5) for n in range(8)]
    side = {c.clip.clip_id: split_of(c.clip.source.source_id, SHARE) for c in made}
    train, held = (next(c for c in made if side[c.clip.clip_id] == name) for name in ("train", "val"))
    bridge, follower, *_ = (c for c in made if c not in (train, held))
    build(tmp_path, [train, held], {})
    near = {bridge.clip.clip_id: held.clip.clip_id, follower.clip.clip_id: bridge.clip.clip_id}
    near |= {train.clip.clip_id: follower.clip.clip_id}
    for added in (1, 0):
        summary = build(tmp_path, [train, held, bridge, follower], near)
        (left,) = summary.left_out
        assert (left.key, left.reason) == (bridge.clip.clip_id, Reason.NEAR_HELD_OUT)
        assert held.clip.source.source_id in left.detail
        assert summary.added == added
    assert {r.key: r.split for r in rows(tmp_path)}[follower.clip.clip_id] == "train"
    assert verify(Folder(str(tmp_path / "d"))) == []
