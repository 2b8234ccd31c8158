"""The score on clips drawn by hand: perfect where the clip is its own truth, and off by the known amount where not."""

from pathlib import Path

import numpy as np
import pytest

from schemas import Captioned, Geometry, Span, Tracked, Verified
from schemas.truth import TrueInstance, TrueTriplet, VideoTruth
from tasks.errors import UserError
from tasks.media.clips import decode_mask, encode_mask
from tasks.outcome import Case
from tasks.store.folder import Folder
from tasks.world import load_truth
from tasks.world.score.score import score
from tasks.world.score.truth_masks import TrueMasks
from tests.builders import make_case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(Folder(str(tmp_path)), seed=2, things=2, frames=9, uris=["/bucket/a dir/video.mp4"])


def truth_of(case: Case, video: str = "video.mp4", expect: str = "accept") -> VideoTruth:
    """What the drawn clip shows, with its IDs numbered the other way round."""
    count = len(case.of(Captioned).instances)
    other = {f"id{k + 1}": f"id{count - k}" for k in range(count)}
    mentions: dict[str, list[Span]] = {k: [] for k in other}
    for act in case.of(Captioned).interactions:
        mentions[act.subject] += act.spans.subject
        mentions[act.object] += act.spans.object
    tracks = {t.id: t.masks for t in case.of(Tracked).tracks}
    return VideoTruth(
        video=video, seed=0, level="plain", width=case.clip.width, height=case.clip.height, frames=case.clip.frames,
        fps=8, caption=case.of(Captioned).caption, expect=expect,
        instances=tuple(
            TrueInstance(
                id=other[i.id], cls=i.cls, colour="", phrase=i.noun, mentions=mentions[i.id], masks=tracks[i.id]
            )
            for i in reversed(case.of(Captioned).instances)
        ),
        triplets=tuple(
            TrueTriplet(
                subject=other[a.subject], verb=a.verb, object=other[a.object], spans=a.spans, contact=5, dynamism=4,
                start_frame=0, end_frame=9,
            )
            for a in case.of(Captioned).interactions
        ),
    )  # fmt: skip


def track(case: Case, index: int, masks: tuple[str | None, ...]) -> Case:
    """The case with other masks on one track."""
    tracks = list(case.of(Tracked).tracks)
    tracks[index] = tracks[index].model_copy(update={"masks": masks})
    return case.plus(case.of(Tracked).model_copy(update={"tracks": tuple(tracks)}))


def test_a_clip_that_is_its_own_truth(case: Case) -> None:
    found = score([case], [truth_of(case)], {"video.mp4": "accept"})
    perfect = ("triplet_precision", "triplet_recall", "triplet_f1", "anchors_right", "mean_j", "mean_f", "mean_jf")
    assert {k: getattr(found, k) for k in perfect} == dict.fromkeys(perfect, 1.0)
    assert (found.id_switches, found.accepted_share, found.reasons_right) == (0, 1.0, 1.0)
    assert (found.triplets_true, found.anchors, found.tracks) == (2, 3, 3)
    assert found.problems == found.mismatches == ()


def test_a_swapped_track_is_one_switch_and_half_the_region(case: Case) -> None:
    actor, ball = case.of(Tracked).tracks[0].masks, case.of(Tracked).tracks[1].masks
    # The ball's track lies on the ball for frames 0-3 and on the actor from frame 4 on: 4 of 9 frames are right.
    found = score([track(case, 1, ball[:4] + actor[4:])], [truth_of(case)])
    clip = case.clip
    overlap = []
    for t in range(4, 9):
        a, b = (decode_mask(m[t], clip.height, clip.width) for m in (actor, ball))
        overlap.append((a & b).sum() / (a | b).sum())
    assert found.id_switches == 1
    assert found.mean_j == pytest.approx((1 + 1 + (4 + sum(overlap)) / 9) / 3)
    assert any("id2" in line and "1 ID switches" in line for line in found.problems)


def test_a_gap_is_no_switch_and_an_invented_mask_counts_zero(case: Case) -> None:
    thing = list(case.of(Tracked).tracks[2].masks)
    assert thing[4] is None  # out of view in the truth
    gap = score([track(case, 2, (*thing[:2], None, *thing[3:]))], [truth_of(case)])
    assert gap.id_switches == 0
    assert gap.mean_j == gap.mean_f == pytest.approx((2 + 8 / 9) / 3)
    thing[4] = thing[3]
    assert score([track(case, 2, tuple(thing))], [truth_of(case)]).mean_j == pytest.approx((2 + 8 / 9) / 3)


def test_an_anchor_beside_its_instance_is_wrong(case: Case) -> None:
    first = case.of(Verified).anchors[0]
    moved = first.model_copy(update={"box": first.box.model_copy(update={"x0": 0.0, "x1": 10.0})})
    grounded = case.of(Verified).model_copy(update={"anchors": (moved, *case.of(Verified).anchors[1:])})
    assert score([case.plus(grounded)], [truth_of(case)]).anchors_right == pytest.approx(2 / 3)


def test_an_invented_and_a_missed_triplet(case: Case) -> None:
    one, two = case.of(Captioned).interactions
    spans = one.spans.model_copy(update={"subject": one.spans.object, "object": one.spans.subject})
    turned = one.model_copy(update={"subject": one.object, "object": one.subject, "spans": spans})
    captioned = case.of(Captioned).model_copy(update={"interactions": (turned, two)})
    found = score([case.plus(captioned)], [truth_of(case)])
    assert (found.triplet_precision, found.triplet_recall, found.triplet_f1) == (0.5, 0.5, 0.5)
    assert len(found.problems) == 2

    only = case.of(Captioned).model_copy(update={"interactions": (two,)})
    found = score([case.plus(only)], [truth_of(case)])
    assert (found.triplet_precision, found.triplet_recall) == (1.0, 0.5)


def test_triplets_below_the_thresholds_are_neither_owed_nor_wrong(case: Case) -> None:
    truth = truth_of(case)
    one, two = truth.triplets
    truth = truth.model_copy(update={"triplets": (one.model_copy(update={"contact": 2}), two)})
    found = score([case], [truth])
    assert (found.triplets_predicted, found.triplets_right, found.triplets_true) == (1, 1, 1)


def test_good_videos_without_a_clip_are_missed_and_others_owe_nothing(case: Case) -> None:
    lost, silent = truth_of(case, "lost.mp4"), truth_of(case, "silent.mp4", "no_interaction")
    found = score([case], [truth_of(case), lost, silent.model_copy(update={"triplets": ()})])
    assert found.triplet_recall == 0.5
    assert found.triplet_precision == 1.0
    assert found.accepted_share == 0.5
    assert (found.videos, found.good_videos) == (3, 2)


def test_a_caption_that_states_nothing_makes_every_triplet_wrong(case: Case) -> None:
    silent = truth_of(case, expect="no_interaction").model_copy(update={"triplets": ()})
    found = score([case], [silent])
    assert (found.triplets_predicted, found.triplets_right, found.triplet_precision) == (2, 0, 0.0)


def test_only_the_first_window_speaks_for_the_video(case: Case) -> None:
    clip = case.clip.model_copy(update={"window": case.clip.window.model_copy(update={"index": 1})})
    later = Case(clip, case.results[:-1])
    found = score([later, case], [truth_of(case)])
    assert (found.accepted_share, found.clips, found.triplets_predicted, found.anchors) == (1.0, 2, 2, 6)


def test_names_are_matched_whole_and_a_double_counts_for_the_good_name(tmp_path: Path) -> None:
    case = make_case(Folder(str(tmp_path)), 2, uris=["/b/a copy.mp4", "/b/sub/video.mp4", "/b/xvideo.mp4"])
    copy, good = truth_of(case, "a copy.mp4", "duplicate"), truth_of(case, "sub/video.mp4")
    other = truth_of(case, "video.mp4", "empty_file")
    found = score([case], [copy, good, other], {"a copy.mp4": "duplicate", "sub/video.mp4": "accept", "video.mp4": "x"})
    assert found.accepted_share == 1.0
    assert found.mismatches == ("video.mp4: expected empty_file, got x",)
    assert found.reasons_right == pytest.approx(2 / 3)


def test_reasons_a_good_file_may_fall_for_what_it_shows_but_not_for_its_state(case: Case) -> None:
    truths = [truth_of(case, f"{k}.mp4") for k in range(3)]
    found = score([], truths, {"0.mp4": "bad_tracks", "1.mp4": "undecodable"})
    assert found.mismatches == ("1.mp4: expected accept, got undecodable", "2.mp4: expected accept, got nothing")


def test_nothing_at_all_scores_zero() -> None:
    found = score([], [])
    assert (found.triplet_f1, found.mean_jf, found.accepted_share, found.files_checked) == (0.0, 0.0, 0.0, 0)


def test_true_masks_are_mapped_by_scale_crop_and_frame(case: Case) -> None:
    # A source of twice the size, of which the clip cuts 8 pixels on the left, shown every second frame.
    clip = case.clip
    big = np.zeros((9, clip.height * 2, clip.width * 2 + 16), bool)
    for t in range(9):
        big[t, 20:60, 30 + 4 * t : 90 + 4 * t] = True
    truth = truth_of(case).model_copy(update={"width": big.shape[2], "height": big.shape[1]})
    thing = truth.instances[0].model_copy(update={"masks": tuple(encode_mask(m) for m in big)})
    clip = clip.model_copy(
        update={
            "geometry": Geometry(
                source_width=big.shape[2], source_height=big.shape[1], scale=0.5, offset_x=4, offset_y=0
            ),
            "window": clip.window.model_copy(update={"source_frames": (0, 2, 4, 6, 8, 99)}),
        }
    )
    masks = TrueMasks(truth, clip)
    for t in range(5):
        wanted = np.zeros((clip.height, clip.width), bool)
        wanted[10:30, 11 + 4 * t : 41 + 4 * t] = True
        assert np.array_equal(masks.at(thing, t), wanted)
    assert not masks.at(thing, 5).any()


def test_damaged_truth_is_the_users_mistake(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.mp4.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        load_truth(tmp_path)
