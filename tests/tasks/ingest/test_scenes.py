"""tasks/ingest/scenes.py: cuts, also between places of similar colours, and what must not be taken for one."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tasks.ingest.decode import Shown
from tasks.ingest.scenes import REACH, Cuts
from tasks.ingest.stage import IngestSettings
from tests.tasks.ingest.scenery import H, W, place, view

S = IngestSettings()


def begins(pictures: list[np.ndarray]) -> list[int]:
    """Indices of the frames at which a scene begins; every frame comes back once, in order."""
    cuts = Cuts(S.scene_threshold, S.scene_ratio, S.scene_min_change)
    out = []
    for i, image in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        out += cuts.see(Shown(i, Fraction(i, 25), frame, sound=True))
        assert len(out) == max(0, i + 1 - REACH)
    out += cuts.rest()
    assert [shown.index for shown, _ in out] == list(range(len(pictures)))
    return [shown.index for shown, begins in out if begins]


@pytest.mark.parametrize("at", [1, 2, 7, 18, 19])
def test_a_cut_between_two_grey_walls_is_found_at_its_frame(at):
    """A change of brightness of 28: too little for the content detector, whose score is its third. At both ends too."""
    pictures = [view(place(1), 2 * i) for i in range(at)] + [view(place(2), 2 * i) for i in range(20 - at)]
    change = np.abs(pictures[at].astype(int) - pictures[at - 1]).mean()
    assert S.scene_min_change < change < S.scene_threshold * 3
    assert begins(pictures) == [0, at]


def test_a_cut_between_two_colours_of_one_brightness_is_found():
    pictures = [np.full((H, W, 3), (200, 40, 40), np.uint8)] * 8 + [np.full((H, W, 3), (40, 40, 200), np.uint8)] * 8
    assert begins(pictures) == [0, 8]


@pytest.mark.parametrize(
    "pictures",
    [
        [view(place(3), min(6 * i, 120)) for i in range(30)],
        [view(place(3), 12 * (i // 2)) for i in range(24)],
        [view(place(3), 12 * (i // 3)) for i in range(30)],
        [view(place(3))] * 6 + [view(place(3), 8 * i) for i in range(20)],
    ],
    ids=["a pan that ends", "drawings for two frames each", "drawings for three frames each", "a pan that begins"],
)
def test_motion_is_no_cut(pictures):
    changes = [np.abs(b.astype(int) - a).mean() for a, b in pairwise(pictures)]
    assert max(changes) > S.scene_min_change  # so it is the ratio that tells
    # In the first and last frames fewer neighbours are known, and drawings for three frames each begin a scene there.
    assert [i for i in begins(pictures) if REACH <= i < len(pictures) - REACH] == []


def test_a_jump_of_hue_on_a_grey_wall_is_no_cut():
    """As a key frame makes it: hardly any change of the picture, another hue everywhere, hundreds of times the mean."""
    bluish, reddish = (view(place(4)) + np.array(tint, np.uint8) for tint in ((0, 0, 2), (0, 2, 2)))
    assert begins([bluish] * 8 + [reddish] * 8) == [0]
