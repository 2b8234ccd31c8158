"""What must hold with any `Detector`, whatever it sees: the embedded one, and the real classes on tiny random weights.

A detector of your own is held to the same by the environment variable MATRIX_TEST_DETECTOR, as a profile names it:

    MATRIX_TEST_DETECTOR='{"name": "grounding_dino", "options": {"checkpoint": "groundingdino_swint_ogc.pth"}}' \\
      python -m pytest tests/tasks/engines/test_detector_contract.py

Random weights see noise; so nothing here asks whether a box is right.
"""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from tasks.engines.base import Proposal
from tasks.engines.registry import EngineSpec, load_engine
from tasks.store.folder import Folder
from tests.tasks.engines import tiny_dino
from tests.tasks.engines.embedded import drawings

NOUNS = ["ball", "man", "box", "polar bear"]
MANY = 100


@pytest.fixture(scope="module", params=[
    "embedded", "groundingdino", "transformers", "mm", pytest.param("MATRIX_TEST_DETECTOR", marks=pytest.mark.slow)
])  # fmt: skip
def detector(request, tmp_path_factory):
    if request.param == "embedded":
        spec = EngineSpec()
    elif request.param == "MATRIX_TEST_DETECTOR":
        if request.param not in os.environ:
            pytest.skip("set MATRIX_TEST_DETECTOR to name and options of a detector, as JSON")
        spec = EngineSpec(**json.loads(os.environ[request.param]))
    else:
        options = tiny_dino.save_tiny(tmp_path_factory.mktemp(request.param), request.param, seed=8)
        spec = EngineSpec(name="grounding_dino", options=options)
    return load_engine("detector", spec, Folder(str(tmp_path_factory.mktemp("home"))))


def scene(length: int = 4, height: int = 96, width: int = 144) -> np.ndarray:
    """Frames uint8 [T, H, W, 3]: things that stand out, one at the edge, and move a little."""
    frames = []
    for t in range(length):
        picture = drawings.ground(height=height, width=width)
        for k, colour in enumerate((drawings.RED, drawings.BLUE, drawings.YELLOW)):
            drawings.ball(picture, k * width // 2 + 2 * t, height // 2 + 9 * k, max(min(height, width) // 9, 1), colour)
        drawings.block(picture, width // 5, height // 5, max(width // 6, 1), max(height // 8, 1), drawings.GREEN)
        frames.append(picture)
    return np.stack(frames)


def told(found: list[Proposal]) -> list[tuple]:
    return [(p.frame, p.noun, p.score, *p.box.model_dump().values()) for p in found]


def near(left: list[Proposal], right: list[Proposal]) -> bool:
    """The same boxes to the rounding of another batch, in whatever order near-equal scores have."""
    rows = [
        sorted((p.frame, p.noun, p.box.x0, p.box.y0, p.box.x1, p.box.y1, p.score) for p in f) for f in (left, right)
    ]
    return [r[:2] for r in rows[0]] == [r[:2] for r in rows[1]] and np.allclose(
        [r[2:] for r in rows[0]], [r[2:] for r in rows[1]], rtol=1e-3, atol=1e-3
    )


def test_proposals_are_about_what_was_asked_and_lie_in_the_frame(detector):
    frames = scene()
    found = detector.propose(frames, NOUNS, MANY)
    assert {p.noun for p in found} <= set(NOUNS) and len({p.noun for p in found}) > 1
    assert {p.frame for p in found} == {0, 1, 2, 3}
    for p in found:
        assert type(p.frame) is int and type(p.score) is float and 0 <= p.score <= 1
        assert 0 <= p.box.x0 < p.box.x1 <= 144 and 0 <= p.box.y0 < p.box.y1 <= 96


def test_confidence_falls_over_all_and_ties_go_by_frame_and_noun(detector):
    frames = np.repeat(scene(1), 3, 0)  # equal frames: every score stands three times
    found = detector.propose(frames, NOUNS, MANY)
    rank = [(-p.score, p.frame, NOUNS.index(p.noun)) for p in found]
    assert [r[0] for r in rank] == sorted(r[0] for r in rank)
    for before, after in pairwise(rank):
        assert before[0] < after[0] or before[1:] <= after[1:]


def test_no_more_than_the_limit_a_frame_and_noun_and_those_the_best(detector):
    frames = scene()
    many = detector.propose(frames, NOUNS, MANY)
    assert max(Counter((p.frame, p.noun) for p in many).values()) > 2
    for limit in (1, 2):
        few = detector.propose(frames, NOUNS, limit)
        for noun in NOUNS:
            for t in range(len(frames)):
                own, kept = ([p for p in f if (p.frame, p.noun) == (t, noun)] for f in (many, few))
                assert kept == own[:limit]


@pytest.mark.parametrize(("nouns", "length", "limit"), [([], 4, 5), (NOUNS, 0, 5), (NOUNS, 4, 0)])
def test_nothing_asked_nothing_found(detector, nouns, length, limit):
    assert detector.propose(scene()[:length], nouns, limit) == []


def test_a_noun_said_twice_is_asked_once(detector):
    frames = scene(2)
    assert told(detector.propose(frames, ["ball", "box", "ball"], 5)) == told(detector.propose(frames, NOUNS[::2], 5))


@pytest.mark.parametrize(("height", "width"), [(97, 33), (50, 131), (17, 200), (64, 64), (9, 7), (1, 1)])
@pytest.mark.parametrize("length", [1, 3])
def test_frames_of_any_size_and_number(detector, length, height, width):
    found = detector.propose(scene(length, height, width), NOUNS, 3)
    for p in found:
        assert 0 <= p.frame < length
        assert 0 <= p.box.x0 < p.box.x1 <= width and 0 <= p.box.y0 < p.box.y1 <= height


@pytest.mark.parametrize("value", [0, 127, 255])
def test_pictures_with_nothing_in_them(detector, value):
    for p in detector.propose(np.full((2, 48, 72, 3), value, np.uint8), NOUNS, 3):
        assert 0 <= p.box.x0 < p.box.x1 <= 72 and 0 <= p.box.y0 < p.box.y1 <= 48


def test_nouns_that_mean_nothing_end_nothing(detector):
    nouns = ["", " ", "🍎", "漢", "[SEP]", ".", "ball", "a" * 500, "x y " * 200]
    found = detector.propose(scene(2), nouns, 2)
    assert {p.noun for p in found} <= set(nouns)
    assert max(Counter((p.frame, p.noun) for p in found).values(), default=0) <= 2


def test_the_same_again_is_the_same_and_the_frames_stay_as_they_were(detector):
    frames = scene()
    before = frames.copy()
    first = detector.propose(frames, NOUNS, 5)
    frames.flags.writeable = False
    assert told(detector.propose(frames, NOUNS, 5)) == told(first)
    assert np.array_equal(frames, before)


def test_how_the_frames_lie_in_memory_is_all_one(detector):
    frames = scene()
    backwards, every_other = frames[:, :, ::-1], np.repeat(frames, 2, 0)[::2]
    assert told(detector.propose(every_other, NOUNS, 5)) == told(detector.propose(frames, NOUNS, 5))
    assert told(detector.propose(backwards, NOUNS, 5)) == told(detector.propose(backwards.copy(), NOUNS, 5))


def test_threads_get_what_each_gets_alone(detector):
    clips = [scene(2), scene(3, 64, 96), scene(1, 50, 80)]
    alone = [detector.propose(clip, NOUNS, 3) for clip in clips]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda clip: detector.propose(clip, NOUNS, 3), clips * 3))
    assert all(near(found, alone[k % 3]) for k, found in enumerate(together))


def test_who_it_is_stays_in_one_line(detector):
    assert detector.identity == detector.identity
    assert detector.identity.isprintable() and detector.identity
    assert detector.resolved.isprintable() if hasattr(detector, "resolved") else True
