import random

import cv2
import numpy as np
import pytest

from schemas import Reason, Status
from tasks.dedupe.groups import Kin
from tasks.dedupe.near import BLOCK
from tasks.dedupe.nearest import Look, Looks
from tasks.dedupe.stage import DedupeSettings, decide, row_of
from tasks.media.phash import as_bits, evenly, hashes, picture_hash
from tests.builders import bare_clip as clip

DEFAULT = DedupeSettings()


def look_of(made):
    window = made.window
    return Look(
        made.clip_id, made.source.source_id, as_bits(made.phash), (made.source.uris[0], window.scene, window.index)
    )


def dedupe(new, known, settings):
    """The rows of new clips beside clips on record."""
    groups = {c.source.source_id: c.source.source_id for c in known}
    clips = {c.clip_id: c for c in new}
    verdicts = decide(Looks.of(map(look_of, new)), Looks.of(map(look_of, known)), groups, settings)
    return [row_of(verdict, clips[verdict.clip_id], 0.0) for verdict in verdicts]


def random_hash(seed: int) -> tuple[str, ...]:
    rng = random.Random(seed)
    return tuple(f"{rng.getrandbits(64):016x}" for _ in range(5))


def near(phash: tuple[str, ...], bits: int) -> tuple[str, ...]:
    """The same hashes with `bits` bits turned in each."""
    return tuple(f"{int(h, 16) ^ ((1 << bits) - 1):016x}" for h in phash)


def outcome(rows) -> dict[int, Reason | None]:
    return {int(r.key, 16): r.reason for r in rows}


def scene(seed: int, frames: int = 9) -> list[np.ndarray]:
    """A disc that moves over a soft random backdrop: RGB frames 96 × 144."""
    rng = np.random.default_rng(seed)
    backdrop = cv2.resize(rng.integers(0, 255, (6, 9, 3), np.uint8), (144, 96), interpolation=cv2.INTER_CUBIC)
    start, step = rng.integers(20, 70, 2), rng.integers(-4, 5, 2)
    return [
        cv2.circle(backdrop.copy(), tuple(int(v) for v in start + step * i), 14, (250, 240, 30), -1)
        for i in range(frames)
    ]


def test_hashes_survive_scaling_blur_and_compression_and_differ_between_scenes():
    def worse(image: np.ndarray) -> np.ndarray:
        small = cv2.GaussianBlur(cv2.resize(image, (100, 66), interpolation=cv2.INTER_AREA), (3, 3), 0)
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 40])
        return cv2.resize(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), (144, 96))

    originals = [hashes(scene(seed), 5) for seed in range(12)]
    copies = [hashes([worse(f) for f in scene(seed)], 5) for seed in range(12)]
    rows = dedupe([clip(i, h) for i, h in enumerate(originals + copies)], [], DEFAULT)
    assert outcome(rows) == {**dict.fromkeys(range(12)), **dict.fromkeys(range(12, 24), Reason.NEAR_DUPLICATE)}
    for copy in rows[12:]:
        assert f"{int(copy.key, 16) - 12:016x}" in copy.detail


def test_a_hash_is_64_bits_and_does_not_mind_brightness():
    image = scene(1)[0]
    darker = (image * 0.8).astype(np.uint8)
    (a, b) = as_bits([picture_hash(image), picture_hash(darker)])
    assert len(picture_hash(image)) == 16 and int(np.bitwise_count(a ^ b)) <= 4


def test_hashed_frames_are_spread_evenly():
    assert evenly(49, 5) == [4, 14, 24, 34, 44] and evenly(5, 5) == [0, 1, 2, 3, 4] and evenly(9, 1) == [4]


def test_the_first_by_source_name_stays_whatever_the_order_of_input():
    base = random_hash(1)
    clips = [
        clip(1, base, "/b/z.mp4"),
        clip(2, near(base, 2), "/b/a.mp4"),
        clip(3, near(base, 1), "/b/m.mp4"),
    ]
    for seed in range(4):
        rows = dedupe(random.Random(seed).sample(clips, 3), [], DEFAULT)
        assert outcome(rows) == {2: None, 3: Reason.NEAR_DUPLICATE, 1: Reason.NEAR_DUPLICATE}


def test_clips_on_record_stay_and_new_ones_yield():
    base = random_hash(1)
    (row,) = dedupe([clip(1, near(base, 3), "/b/a.mp4")], [clip(9, base, "/b/z.mp4")], DEFAULT)
    assert row.reason is Reason.NEAR_DUPLICATE and f"{9:016x}" in row.detail


def test_a_rejected_clip_rejects_nobody():
    base = random_hash(1)
    chain = [
        clip(1, base),
        clip(2, near(base, 4)),
        clip(3, near(base, 8)),
    ]  # 3 is near 2, but not near 1
    assert outcome(dedupe(chain, [], DEFAULT)) == {1: None, 2: Reason.NEAR_DUPLICATE, 3: None}


def test_windows_of_one_source_are_no_duplicates_of_each_other():
    base = random_hash(1)
    clips = [clip(1, base, "/b/a.mp4", source=7), clip(2, base, "/b/a.mp4", source=7, index=1)]
    assert outcome(dedupe(clips, [], DEFAULT)) == {1: None, 2: None}
    assert outcome(dedupe([*clips, clip(3, base, "/b/z.mp4")], [], DEFAULT))[3] is Reason.NEAR_DUPLICATE


def test_the_nearest_one_within_reach_is_on_record():
    base = random_hash(1)
    rows = dedupe([clip(1, base), clip(2, near(base, 9)), clip(3, random_hash(2))], [], DEFAULT)
    assert [(r.payload.nearest, r.payload.distance) for r in rows] == [(None, None), (f"{1:016x}", 9), (None, None)]
    assert all(r.status is Status.ACCEPTED for r in rows)


def test_results_do_not_depend_on_the_size_of_blocks():
    count = BLOCK * 2 + 37
    clips = [clip(i, random_hash(i)) for i in range(count)]
    clips += [clip(count + i, near(random_hash(i), i % 7), f"/b/x{i:05d}.mp4") for i in range(0, count, 5)]
    rows = {int(r.key, 16): r for r in dedupe(clips, [], DEFAULT)}
    for i in range(0, count, 5):
        assert (rows[count + i].reason is Reason.NEAR_DUPLICATE) == (i % 7 <= DEFAULT.max_distance)
    assert all(rows[i].reason is None for i in range(count))


def test_nothing_new_is_no_work_and_other_hash_counts_are_an_error():
    assert dedupe([], [clip(1, random_hash(1))], DEFAULT) == []
    with pytest.raises(ValueError):
        dedupe([clip(1, random_hash(1))], [clip(2, random_hash(2)[:3])], DEFAULT)


def verdicts_on(new, known=(), groups=()):
    found = decide(Looks.of(map(look_of, new)), Looks.of(map(look_of, known)), dict(groups), DEFAULT)
    return {int(verdict.clip_id, 16): verdict for verdict in found}


def test_what_a_clip_was_found_near_to_is_told_also_of_a_duplicate():
    one = random_hash(1)
    some = [clip(1, one), clip(2, near(one, 2)), clip(3, near(one, 9)), clip(4, random_hash(4))]
    found = verdicts_on(some)
    assert {number: verdict.duplicate for number, verdict in found.items()} == {1: False, 2: True, 3: False, 4: False}
    nearest = {number: verdict.nearest for number, verdict in found.items()}
    assert nearest == {1: None, 2: f"{1:016x}", 3: f"{1:016x}", 4: None}


def test_a_row_says_which_clip_it_is_of_and_the_group_that_it_may_not_be_parted_from():
    one = random_hash(1)
    clips = [clip(1, one), clip(2, near(one, 9)), clip(3, random_hash(3))]
    rows = dedupe(clips, [], DEFAULT)
    assert [row.payload.clip for row in rows] == clips
    assert [row.payload.group for row in rows] == [f"{1:016x}", f"{1:016x}", f"{3:016x}"]
    assert all(row.payload.near == () for row in rows)


def test_what_stands_between_two_videos_links_them_though_it_is_itself_left_out():
    one, two = random_hash(1), random_hash(2)
    bridge = [
        clip(8, near(one, 1), "/b/z.mp4", source=8),
        clip(9, near(two, 1), "/b/z.mp4", source=8, index=1),
    ]
    found = verdicts_on([clip(1, one), clip(2, two), *bridge])
    assert found[8].duplicate and found[9].duplicate
    assert found[1].kin == found[2].kin == Kin(f"{1:016x}")


def test_a_group_is_fixed_when_it_is_on_record_and_a_bridge_says_what_else_it_is_near_to():
    one, two = random_hash(1), random_hash(2)
    known, groups = [clip(1, one), clip(2, two)], {f"{1:016x}": f"{1:016x}", f"{2:016x}": f"{2:016x}"}
    bridge = [clip(8, near(one, 9), source=8), clip(9, near(two, 9), source=8, index=1)]
    found = verdicts_on(bridge, known, groups)
    assert found[8].kin == found[9].kin == Kin(f"{1:016x}", (f"{2:016x}",))


def test_new_windows_of_a_video_on_record_are_of_its_group():
    found = verdicts_on(
        [clip(5, random_hash(5), source=1, index=3)], [clip(1, random_hash(1))], {f"{1:016x}": f"{7:016x}"}
    )
    assert found[5].kin == Kin(f"{7:016x}")
