from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from tasks.engines.sam2.memory import LARGE
from tasks.engines.sam2.original import Original
from tasks.engines.sam2.sweep import Windows, track
from tasks.media.clips import decode_mask
from tests.tasks.engines.sam2.scenes import scene
from tests.tasks.engines.tiny_sam2 import tiny_network

CPU = torch.device("cpu")
FIRST, SECOND = np.array([3, 5, 19, 21], np.float32), np.array([51, 37, 67, 53], np.float32)


class Watched(Original):
    """The real model, with everything written down that it is asked for; `hidden` frames show no object."""

    def __init__(self, network):
        super().__init__(network, CPU)
        self.looks, self.prompts, self.follows = Counter(), [], []
        self.frames, self.hidden = None, range(0)
        self.album, self.most_kept, self.most_recent, self.most_maps = None, 0, 0, 0

    def look(self, frame):
        self.looks[int(next(t for t, f in enumerate(self.frames) if f is frame or np.array_equal(f, frame)))] += 1
        return super().look(frame)

    def prompt(self, features, t, prompts, shape, length):
        self.prompts.append((t, "box" if prompts[0].ndim == 1 else "mask", len(prompts)))
        return super().prompt(features, t, prompts, shape, length)

    def follow(self, features, t, memories, backwards, length):
        self.follows.append((t, backwards, [m.at for m in memories]))
        logits = super().follow(features, t, memories, backwards, length)
        for m in memories:
            self.most_recent = max(self.most_recent, len(m.recent))
            self.most_maps = max(self.most_maps, sum(LARGE[0] in out for out in m.recent.values()))
        return torch.full_like(logits, -1) if t in self.hidden else logits


@pytest.fixture(scope="module")
def network():
    return tiny_network(0)


def run(network, frames, anchors, windows, hidden=range(0)):
    model = Watched(network)
    model.frames, model.hidden = frames, hidden
    with torch.inference_mode():
        found = track(model, frames, anchors, windows)
    return model, np.array([[decode_mask(m, *frames.shape[1:3]) for m in masks] for masks in found])


def test_every_frame_is_encoded_once_for_all_ids_and_both_ways(network):
    frames = scene(24)
    model, masks = run(network, frames, [(20, FIRST), (4, SECOND), (11, FIRST)], Windows(24, 8))
    assert model.looks == dict.fromkeys(range(24), 1)
    assert masks.shape == (3, 24, 64, 96)


def test_ids_start_at_their_anchors_and_go_both_ways(network):
    model, _ = run(network, scene(8), [(5, FIRST), (2, SECOND), (5, SECOND)], Windows(128, 8))
    assert model.prompts == [(2, "box", 1), (5, "box", 2)]
    forth = [(t, ats) for t, backwards, ats in model.follows if not backwards]
    back = [(t, ats) for t, backwards, ats in model.follows if backwards]
    assert forth == [(3, [2]), (4, [2]), (5, [2]), (6, [5, 2, 5]), (7, [5, 2, 5])]
    assert back == [(4, [5, 5]), (3, [5, 5]), (2, [5, 5]), (1, [5, 2, 5]), (0, [5, 2, 5])]


def test_a_window_as_long_as_the_clip_changes_nothing(network):
    frames, anchors = scene(16), [(9, FIRST), (3, SECOND)]
    _, plain = run(network, frames, anchors, Windows(128, 8))
    _, exact = run(network, frames, anchors, Windows(16, 8))
    _, offloaded = run(network, frames, anchors, Windows(16, 8, CPU))
    assert np.array_equal(plain, exact) and np.array_equal(plain, offloaded)


@pytest.mark.parametrize(("size", "overlap"), [(8, 1), (8, 4), (12, 3)])
def test_windows_cover_every_frame_and_hand_masks_over(network, size, overlap):
    length, frames = 30, scene(30)
    windows = Windows(size, overlap)
    cuts = windows.cuts(length)
    assert {t for cut in cuts for t in cut} == set(range(length))
    assert all(a.stop - b.start == overlap for a, b in pairwise(cuts))
    assert max(map(len, cuts)) <= size

    model, masks = run(network, frames, [(14, FIRST), (0, SECOND), (29, FIRST)], windows)
    assert masks.any((2, 3)).all()
    assert set(model.looks) == set(range(length)) and max(model.looks.values()) <= 2
    handed = [(t, count) for t, kind, count in model.prompts if kind == "mask"]
    # forth: the last frame of each window but the last; back: the first frame of each but the first
    shared = [range(b.start, a.stop) for a, b in pairwise(cuts)]
    forth = [(r[-1], sum(at < r[0] for at in (14, 0, 29))) for r in shared]
    back = [(r[0], sum(at > r[-1] for at in (14, 0, 29))) for r in reversed(shared)]
    assert handed == [x for x in forth + back if x[1]]


def test_a_hand_over_differs_from_going_on_but_not_before_it(network):
    frames, anchors = scene(20), [(0, FIRST)]
    _, plain = run(network, frames, anchors, Windows(128, 4))
    _, windowed = run(network, frames, anchors, Windows(12, 4))
    assert np.array_equal(plain[:, :12], windowed[:, :12])
    assert not np.array_equal(plain[:, 12:], windowed[:, 12:])


def test_the_newest_mask_prompts_and_without_one_the_memory_goes_on(network):
    frames, anchors = scene(20), [(0, FIRST)]
    model, masks = run(network, frames, anchors, Windows(12, 4), hidden=range(10, 12))
    assert model.prompts[1:] == [(9, "mask", 1)]  # of the shared frames 8..11 the newest with a mask
    assert not masks[0, 10:12].any() and masks[0, 12:].any((1, 2)).all()

    model, masks = run(network, frames, anchors, Windows(12, 4), hidden=range(8, 12))
    assert model.prompts[1:] == []
    assert not masks[0, 8:12].any() and masks[0, 12:].any((1, 2)).all()
    assert model.follows[-1] == (19, False, [0])


def test_memory_is_as_large_after_60_frames_as_after_30(network):
    sizes = []
    for length in (30, 60):
        model, _ = run(network, scene(length), [(10, FIRST), (20, SECOND)], Windows(64, 8))
        sizes.append((model.most_recent, model.most_maps))
    assert sizes[0] == sizes[1]
    # what is in reach, and on the way back what lies as far behind the anchor
    assert sizes[0][0] <= 2 * (model.pointers + 1) and sizes[0][1] <= 2 * (model.maps + 1)


def test_features_of_a_long_clip_are_kept_for_a_window_at_most(network, monkeypatch):
    from tasks.engines.sam2 import album

    most = []
    leave = album.Album.leave

    def watched(self, now):
        leave(self, now)
        most.append(len(self.kept))

    monkeypatch.setattr(album.Album, "leave", watched)
    run(network, scene(40), [(0, FIRST), (39, SECOND)], Windows(10, 2))
    assert max(most) == 10
    most.clear()
    run(network, scene(20), [(0, FIRST)], Windows(64, 8))
    assert max(most) == 0
