"""One clip under two settings: paired by what tracks cover, whatever the IDs are called."""

import numpy as np
import pytest

from schemas import Anchor, Captioned, Curated, Track, Tracked, Verified
from schemas.review import Reviewed
from tasks.compare.differing import differ, mean_iou
from tasks.media.clips import decode_mask, encode_mask
from tasks.outcome import Case
from tasks.store.folder import Folder
from tests.builders import make_case

SIZE = 64, 96


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    """As far as `curate`."""
    whole = make_case(Folder(str(tmp_path_factory.mktemp("c"))), 1, things=2, frames=6, height=64, width=96)
    return Case(whole.clip, tuple(r for r in whole.results if not isinstance(r, Reviewed)))


def moved(track: Track, pixels: int) -> Track:
    masks = [np.roll(decode_mask(m, *SIZE), pixels, axis=1) for m in track.masks]
    return track.model_copy(update={"masks": tuple(map(encode_mask, masks))})


def test_a_clip_does_not_differ_from_itself(case):
    found = differ(case, case)
    assert found.size == 0 and not found.only_left and not found.only_right and not found.alone
    assert set(found.shifts) == {(0, 0)} and [(p.left, p.iou, p.anchor_iou) for p in found.tracks] == [
        ("id1", 1.0, 1.0), ("id2", 1.0, 1.0), ("id3", 1.0, 1.0),
    ]  # fmt: skip


def test_other_names_for_the_same_things(case):
    """The right side calls id1 id3 and id3 id1: same triplets, same tracks."""
    names = {"id1": "id3", "id2": "id2", "id3": "id1"}
    captioned, verified, tracked = case.of(Captioned), case.of(Verified), case.of(Tracked)
    acts = tuple(
        a.model_copy(update={"subject": names[a.subject], "object": names[a.object]}) for a in captioned.interactions
    )
    right = case.plus(
        captioned.model_copy(
            update={
                "instances": tuple(i.model_copy(update={"id": names[i.id]}) for i in captioned.instances),
                "interactions": acts,
            }
        ),
        verified.model_copy(
            update={"anchors": tuple(a.model_copy(update={"id": names[a.id]}) for a in verified.anchors)}
        ),
        tracked.model_copy(update={"tracks": tuple(t.model_copy(update={"id": names[t.id]}) for t in tracked.tracks)}),
    )
    found = differ(case, right)
    assert found.size == 0 and {p.left: p.right for p in found.tracks} == names


def test_what_people_mended_counts(case):
    captioned, tracked, numbers = case.of(Captioned), case.of(Tracked), case.of(Curated).numbers
    first, _ = captioned.interactions
    told = first.model_copy(update={"verb": "is dropping"})
    ids, mended = (first.subject, first.object), moved(tracked.tracks[1], 4)
    right = case.plus(Reviewed(ids=ids, interactions=(told,), numbers=numbers[:2], tracks=(mended,)))
    found = differ(case, right)
    assert len(found.only_right) == 1 and len(found.only_left) == 2
    assert found.alone == (("left", "id3"),) and [p.iou < 1 for p in found.tracks] == [False, True]


def test_what_differs_is_told(case):
    captioned, verified, tracked = case.of(Captioned), case.of(Verified), case.of(Tracked)
    first, second = captioned.interactions
    rating = first.rating.model_copy(update={"contact": first.rating.contact - 1, "dynamism": 5})
    acts = (first.model_copy(update={"rating": rating}), second.model_copy(update={"verb": "is dropping"}))
    one, two, three = tracked.tracks
    anchors = [Anchor(**{**a.model_dump(), "frame": 3 if a.id == "id2" else 1}) for a in verified.anchors]
    right = case.plus(
        captioned.model_copy(update={"interactions": acts}),
        verified.model_copy(update={"anchors": tuple(anchors)}),
        tracked.model_copy(update={"tracks": (one, moved(two, 4))}),
        Curated(ids=("id1", "id2"), interactions=(first.text, second.text), numbers=case.of(Curated).numbers[:2]),
    )
    found = differ(case, right)
    assert len(found.same) == 1 and found.shifts == ((-1, 5 - first.rating.dynamism),)
    assert [t[1] for t in found.only_left] == [second.verb] and [t[1] for t in found.only_right] == ["dropping"]
    assert found.alone == (("left", three.id),)
    same, other = found.tracks
    assert (same.iou, same.j_and_f, same.anchor_iou) == (1, 1, 1) and other.anchor_iou is None
    assert other.iou == pytest.approx(mean_iou(two, moved(two, 4), SIZE)) and 0.3 < other.iou < 0.8
    assert 0 < found.size < 2


def test_a_side_that_came_less_far(case):
    """One that was rejected at `caption` has no triplets and no tracks."""
    found = differ(case, Case(case.clip, case.results[:1]))
    assert len(found.only_left) == 2 and not found.tracks and [a[0] for a in found.alone] == ["left"] * 3
    assert found.size == 2
