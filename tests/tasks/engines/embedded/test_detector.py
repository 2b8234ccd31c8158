"""The embedded detector on drawn pictures, and with the embedded verifier on rendered scenes whose truth is known."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from schemas import Box
from tasks.engines.base import Proposal
from tasks.engines.embedded.detector import EmbeddedDetector
from tasks.engines.embedded.verifier import EmbeddedVerifier
from tasks.media.clips import decode_mask
from tasks.propose.stage import sample_frames
from tasks.world.film import film, no_masks
from tasks.world.staging import make_scene
from tests.tasks.engines.embedded import drawings as d
from tests.tasks.grounding_cases import ground, make_case

DETECTOR = EmbeddedDetector()


def best(proposals: list[Proposal], noun: str) -> Proposal:
    return max((p for p in proposals if p.noun == noun), key=lambda p: p.score)


def test_the_outline_decides_which_thing_a_noun_gets():
    picture = d.ground()
    ball = d.ball(picture, 90, 150, 20, d.RED)
    box = d.block(picture, 220, 130, 60, 46, d.BLUE)
    proposals = DETECTOR.propose(d.still(picture), ("ball", "box"), 5)
    assert best(proposals, "ball").box.iou(ball) > 0.8
    assert best(proposals, "box").box.iou(box) > 0.8


def test_a_person_is_head_garment_and_legs():
    picture = d.ground()
    man = d.person(picture, 120, 200, 120, d.GREEN)
    d.block(picture, 250, 130, 60, 46, d.BLUE)
    assert best(DETECTOR.propose(d.still(picture), ("man",), 5), "man").box.iou(man) > 0.75


def test_a_thing_in_the_arms_is_not_part_of_the_person_nor_the_person_of_it():
    picture = d.ground()
    man = d.person(picture, 120, 200, 120, d.GREEN)
    ball = d.ball(picture, 152, 128, 17, d.RED)
    proposals = DETECTOR.propose(d.still(picture), ("man", "ball"), 5)
    assert best(proposals, "man").box.iou(man) > 0.7
    assert best(proposals, "ball").box.iou(ball) > 0.8


def test_frames_in_which_the_thing_is_whole_come_first():
    frames = []
    for x in (100, 160, 210, 260):
        picture = d.ground()
        d.ball(picture, x, 150, 20, d.RED)
        d.block(picture, 165, 100, 40, 100, d.BLUE)
        frames.append(picture)
    scores = {p.frame: p.score for p in DETECTOR.propose(np.stack(frames), ("ball",), 1)}
    assert max(scores, key=lambda f: scores[f]) in (0, 3)
    assert min(scores[0], scores[3]) > 2 * max(scores.get(1, 0), scores.get(2, 0))


def test_in_clutter_motion_tells():
    frames, truth = [], []
    for x in (60, 130, 200, 270, 320):
        picture = d.clutter()
        truth.append(d.person(picture, x, 210, 130, (70, 90, 140)))
        frames.append(picture)
    found = best(DETECTOR.propose(np.stack(frames), ("woman",), 5), "woman")
    assert found.box.iou(truth[found.frame]) > 0.6


@pytest.mark.parametrize("size", [(96, 144), (480, 720)])
def test_other_sizes_of_clips_work(size: tuple[int, int]):
    height, width = size
    picture = d.ground(height=height, width=width)
    ball = d.ball(picture, width // 4, 2 * height // 3, height // 12, d.RED)
    found = best(DETECTOR.propose(d.still(picture), ("ball",), 5), "ball")
    assert found.box.iou(ball) > 0.75


@pytest.mark.parametrize("frames", [1, 8])
def test_nothing_to_see_gives_nothing(frames: int):
    assert DETECTOR.propose(np.full((frames, 96, 144, 3), 120, dtype=np.uint8), ("ball",), 5) == []
    assert DETECTOR.propose(np.zeros((frames, 96, 144, 3), dtype=np.uint8), ("ball",), 5) == []


def test_anchors_on_the_rendered_world():
    """Whole scenes through the stage: nearly every anchor on its instance, nobody's on another's."""
    right, given, asked = 0, 0, 0
    chosen = sample_frames(49, 8)
    for seed in (70_001, 70_002, 70_003, 70_004):
        scene = make_scene(seed, "plain", size=(720, 480), rate=Fraction(8))
        masks = no_masks(scene)
        sampled = np.stack([picture for picture, _ in film(scene, masks, chosen)])
        truth = {i.id: i for i in scene.truth("scene.mp4", masks).instances}
        acts = dict.fromkeys((t.subject, t.object) for t in scene.truth("scene.mp4", masks).triplets)
        ids = dict.fromkeys(end for act in acts for end in act)
        case = make_case({i: truth[i].cls for i in ids}, list(acts), nouns={i: truth[i].phrase for i in ids})
        row = ground(case, _returns(sampled), DETECTOR, EmbeddedVerifier())
        asked += len(ids)
        for anchor in row.payload.anchors if row.payload else ():
            given += 1
            boxes = {i: _box_of(t.masks[anchor.frame]) for i, t in truth.items()}
            overlaps = {i: anchor.box.iou(b) for i, b in boxes.items() if b is not None}
            right += overlaps.get(anchor.id, 0) >= 0.5
            assert max(overlaps, key=lambda i: overlaps[i]) == anchor.id
    assert asked >= 8
    assert right >= 0.9 * asked and right >= 0.95 * given


def _returns(frames: np.ndarray) -> Callable[[object], np.ndarray]:
    return lambda _: frames


def _box_of(rle: str | None) -> Box | None:
    if rle is None:
        return None
    ys, xs = np.nonzero(decode_mask(rle, 480, 720))
    return Box(x0=xs.min(), y0=ys.min(), x1=xs.max() + 1, y1=ys.max() + 1)
