"""What must hold with any `Tracker`, whatever it sees: the embedded one, and the real classes on tiny random weights.

A tracker of your own is held to the same by the environment variable MATRIX_TEST_TRACKER, as a profile names it:

    MATRIX_TEST_TRACKER='{"name": "sam2", "options": {"checkpoint": "weights/sam2.1_hiera_large.pt"}}' \\
      python -m pytest tests/tasks/engines/test_tracker_contract.py

Random weights follow noise; so nothing here asks whether a mask is right.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from schemas import Track
from tasks.engines.base import Tracker
from tasks.engines.registry import EngineSpec, load_engine
from tasks.media.clips import decode_mask
from tasks.store.folder import Folder
from tests.tasks.engines import tiny_sam2
from tests.tasks.engines.sam2.scenes import anchor, difference, masks_of, scene

LEFT, RIGHT, MIDDLE = (9, 5, 25, 21), (57, 37, 73, 53), (30, 10, 60, 50)


@dataclass(frozen=True)
class Target:
    """A tracker, and what is known of it."""

    tracker: Tracker
    alone: bool = True
    """IDs do not see each other: each gets what it would get alone, and masks overlap as they come."""

    def __call__(self, frames: np.ndarray, *anchors: Any) -> list[Track]:
        return self.tracker.propagate(frames, anchors)


@pytest.fixture(scope="module", params=[
    "embedded", "sam2", "transformers", "sam3", pytest.param("MATRIX_TEST_TRACKER", marks=pytest.mark.slow)
])  # fmt: skip
def tracked(request, tmp_path_factory):
    if request.param == "embedded":
        spec = EngineSpec()
    elif request.param == "MATRIX_TEST_TRACKER":
        if request.param not in os.environ:
            pytest.skip("set MATRIX_TEST_TRACKER to name and options of a tracker, as JSON")
        spec = EngineSpec(**json.loads(os.environ[request.param]))
    else:
        options = tiny_sam2.save_tiny(tmp_path_factory.mktemp(request.param), request.param, seed=0)
        spec = EngineSpec(name="sam2", options=options)
    home = Folder(str(tmp_path_factory.mktemp("home")))
    return Target(load_engine("tracker", spec, home), alone=spec.name != "embedded")


def sound(tracks: list[Track], ids: list[str], frames: np.ndarray) -> bool:
    """A track per anchor in their order; every mask has the frame's size and shows something."""
    assert [t.id for t in tracks] == ids
    for t in tracks:
        assert len(t.masks) == len(frames) and t.likeness == ()
        for rle in t.masks:
            assert rle is None or decode_mask(rle, *frames.shape[1:3]).any()  # ValueError where it is of another size
    return True


def test_a_track_per_anchor_in_their_order_at_the_clips_size(tracked):
    frames = scene(8)
    anchors = [anchor(7, 2, LEFT), anchor(2, 5, RIGHT), anchor(11, 5, MIDDLE)]
    tracks = tracked(frames, *anchors)
    assert sound(tracks, ["id7", "id2", "id11"], frames)
    assert len({t.masks for t in tracks}) == 3


def test_an_anchor_in_the_middle_leads_both_ways(tracked):
    frames = scene(9)
    (found,) = tracked(frames, anchor(1, 4, (11, 5, 27, 21)))
    seen = masks_of(found, frames).any((1, 2))
    assert seen[4] and seen[:4].any() and seen[5:].any()


def test_anchors_at_either_end_lead_to_the_other(tracked):
    frames = scene(6)
    first, last = tracked(frames, anchor(1, 0, (3, 5, 19, 21)), anchor(2, 5, RIGHT))
    assert masks_of(first, frames)[1:].any() and masks_of(last, frames)[:5].any()


def test_the_order_of_anchors_is_the_order_of_tracks_and_nothing_else(tracked):
    frames = scene(6)
    anchors = [anchor(1, 1, LEFT), anchor(2, 4, RIGHT), anchor(3, 4, MIDDLE)]
    forth, back = tracked(frames, *anchors), tracked(frames, *anchors[::-1])
    assert difference(forth, back[::-1], frames) < 1e-3


def test_boxes_over_each_other_and_the_same_box_twice_end_nothing(tracked):
    frames = scene(5)
    twice = [anchor(1, 2, MIDDLE), anchor(2, 2, MIDDLE), anchor(3, 2, (20, 5, 50, 40)), anchor(4, 0, MIDDLE)]
    tracks = tracked(frames, *twice)
    assert sound(tracks, ["id1", "id2", "id3", "id4"], frames)
    if tracked.alone:
        masks = [masks_of(t, frames) for t in tracks]
        assert (masks[0] & masks[1]).any() and (masks[0] & masks[2]).any()
        for one, given in zip(tracks, twice, strict=True):
            assert difference([one], tracked(frames, given), frames) < 1e-3


def test_no_anchor_no_track(tracked):
    assert tracked(scene(3)) == []


def test_a_clip_of_one_frame(tracked):
    frames = scene(1)
    assert sound(tracked(frames, anchor(1, 0, LEFT), anchor(2, 0, MIDDLE)), ["id1", "id2"], frames)


@pytest.mark.parametrize(("height", "width"), [(50, 131), (97, 33), (200, 300), (17, 200), (33, 33)])
def test_frames_of_any_size(tracked, height, width):
    frames = scene(3, height, width)
    assert sound(tracked(frames, anchor(1, 1, (5, 5, 30, 16)), anchor(2, 2, (1, 1, 20, 15))), ["id1", "id2"], frames)


def test_a_box_over_the_edge_is_cut_to_the_frame(tracked):
    frames = scene(4)
    over, cut = anchor(1, 1, (-500, -3, 40, 1e6)), anchor(1, 1, (0, 0, 40, 64))
    assert tracked(frames, over) == tracked(frames, cut)


@pytest.mark.parametrize("box", [(200, 5, 240, 30), (5, -30, 40, 0), (96, 0, 97, 10), (-9, -9, -1, -1)])
def test_a_box_beyond_the_frame_shows_nothing_and_takes_nothing_from_others(tracked, box):
    frames = scene(4)
    beyond, seen = tracked(frames, anchor(1, 1, box), anchor(2, 2, LEFT))
    assert beyond.id == "id1" and beyond.masks == (None,) * 4
    assert difference([seen], tracked(frames, anchor(2, 2, LEFT)), frames) < 1e-3
    assert tracked(frames, anchor(1, 1, box)) == [beyond]


@pytest.mark.parametrize("box", [(40, 30, 41, 31), (95, 63, 96, 64), (0, 0, 0.01, 0.01), (0, 0, 96, 64)])
def test_boxes_of_a_pixel_and_of_the_whole_frame(tracked, box):
    frames = scene(3)
    assert sound(tracked(frames, anchor(1, 1, box)), ["id1"], frames)


@pytest.mark.parametrize("frame", [4, 400])
def test_an_anchor_after_the_end_is_refused(tracked, frame):
    with pytest.raises(ValueError, match=f"anchor of id1 is on frame {frame} of a clip of 4"):
        tracked(scene(4), anchor(2, 0, LEFT), anchor(1, frame, LEFT))


@pytest.mark.parametrize("value", [0, 127, 255])
def test_pictures_with_nothing_in_them(tracked, value):
    frames = np.full((3, 48, 72, 3), value, np.uint8)
    assert sound(tracked(frames, anchor(1, 1, (5, 5, 30, 40))), ["id1"], frames)


def test_the_same_again_is_the_same_and_the_frames_stay_as_they_were(tracked):
    frames = scene(5)
    before = frames.copy()
    first = tracked(frames, anchor(1, 2, LEFT), anchor(2, 4, RIGHT))
    frames.flags.writeable = False
    assert tracked(frames, anchor(1, 2, LEFT), anchor(2, 4, RIGHT)) == first
    assert np.array_equal(frames, before)


def test_how_the_frames_lie_in_memory_is_all_one(tracked):
    frames = scene(4)
    for odd in (np.repeat(frames, 2, 0)[::2], frames[:, :, ::-1]):
        assert tracked(odd, anchor(1, 1, MIDDLE)) == tracked(odd.copy(), anchor(1, 1, MIDDLE))


def test_threads_get_what_each_gets_alone(tracked):
    clips = [
        (scene(3), anchor(1, 1, LEFT)),
        (scene(4, 48, 80), anchor(2, 3, (20, 10, 50, 40))),
        (scene(2), anchor(3, 0, MIDDLE)),
    ]
    alone = [tracked(*clip) for clip in clips]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda clip: tracked(*clip), clips * 2))
    assert together == alone * 2


def test_who_it_is_stays_in_one_line(tracked):
    identity = tracked.tracker.identity
    assert identity == tracked.tracker.identity and identity.isprintable() and identity
