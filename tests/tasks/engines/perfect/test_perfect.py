"""Engines that know the truth, through the real stages: no error gives a perfect dataset, and errors are caught.

Prints the figures; the bigger run for docs/log.md is `python -m benchmarks.perfect`.
"""

import numpy as np
import pytest

from flows.settings import BuildSettings
from tasks.engines.registry import ENGINES
from tasks.ingest.stage import IngestSettings
from tasks.world import render_bucket
from tests.tasks.engines.perfect.models import BlindVerifier, Dial, PerfectDetector, PerfectTracker
from tests.tasks.engines.perfect.running import World, anchored, caught

pytestmark = pytest.mark.slow

SMALL = IngestSettings(height=240, width=352, frames=17, fps=4)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """A dozen plain videos, ingested and captioned."""
    folder = tmp_path_factory.mktemp("perfect")
    render_bucket(folder / "world", videos=12, seed=3, level="plain", broken=False, workers=2)
    settings = BuildSettings(
        source=str(folder / "world" / "raw"),
        captions=str(folder / "world" / "captions.csv"),
        out=str(folder / "out"),
        ingest=SMALL,
    )
    world = World(folder / "world", settings)
    world.begin()
    return world


@pytest.fixture
def say(capsys):
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\nperfect engines, {text}", end="")

    return say


def test_no_error_gives_a_perfect_dataset(world, say):
    build = world.go()
    score, tracks = world.score(build), caught(build, world)
    say(f"no error: {'; '.join(score.lines())}; true tracks dropped {tracks.honest_dropped} of {tracks.honest}")
    assert score.triplet_f1 == 1.0
    assert score.triplets_true >= 10
    assert score.anchors_right == anchored(build, world).recovered == 1.0
    assert score.mean_jf >= 0.99
    assert score.id_switches == 0
    assert score.reasons_right == 1.0
    assert score.tracks >= 20 and tracks.bad == tracks.slight == 0


def test_the_verifier_puts_swapped_boxes_right(world, say):
    dial = Dial(swapped=0.1)
    checked = anchored(world.go(dial, stages=("propose", "verify")), world)
    blind = anchored(world.go(dial, BlindVerifier(), stages=("propose", "verify")), world, doubles_only=True)
    say(
        f"10 % swapped: {checked.recovered:.3f} of {checked.wanted} anchors, {blind.recovered:.3f} of doubles unchecked"
    )
    assert checked.recovered >= 0.95 and checked.wrong == 0
    assert blind.wanted >= 6 and blind.recovered < 0.9  # there is something to put right


def test_a_change_of_verifier_asks_no_detector_again(world, monkeypatch):
    asked = []
    propose = PerfectDetector.propose

    def counted(self, frames, nouns, limit):
        asked.append(len(frames))
        return propose(self, frames, nouns, limit)

    monkeypatch.setattr(PerfectDetector, "propose", counted)
    dial = Dial(missed=0.05, seed=5)
    first = world.go(dial, stages=("propose", "verify"))
    clips = first.survey().tally("propose").arrived
    assert len(asked) == clips > 0
    other = world.go(dial, BlindVerifier(), stages=("propose", "verify"))
    assert len(asked) == clips, "its boxes are on record"
    assert other.survey().tally("verify").arrived == first.survey().tally("verify").arrived
    assert other.fingerprints["verify"] != first.fingerprints["verify"]


def test_every_box_swapped_leaves_no_wrong_anchor(world):
    """Where all boxes of a pair are each other's, both are found all the same: one-to-one works both ways."""
    found = anchored(world.go(Dial(swapped=1.0), stages=("propose", "verify")), world)
    assert found.wrong == 0


def test_missed_boxes_are_made_up_for_by_other_frames(world, say):
    found = anchored(world.go(Dial(missed=0.3), stages=("propose", "verify")), world)
    none = world.go(Dial(missed=1.0), stages=("propose",)).survey().tally("propose")
    say(f"30 % missed: {found.recovered:.3f} of {found.wanted} anchors")
    assert found.recovered >= 0.95 and found.wrong == 0
    assert none.accepted == 0 and set(none.rejected) == {"ungrounded"}


def test_wrong_verdicts_cost_anchors_and_nothing_breaks(world, say):
    build = world.go(Dial(wrong=0.2))
    found = anchored(build, world)
    tally = build.survey().tally("curate")
    say(f"20 % wrong verdicts: {found.right} of {found.wanted} anchors right, {found.wrong} wrong")
    assert 0.5 < found.recovered < 1.0
    assert tally.arrived == tally.accepted + sum(tally.rejected.values())


@pytest.mark.parametrize("kind", ["slide", "jump", "grow", "freeze", "merge", "part"])
def test_curate_catches_drift(world, say, kind):
    found = caught(world.go(Dial(drifted=0.7, drift=kind)), world)
    say(
        f"{kind}: curate drops {found.bad_dropped} of {found.bad} bad tracks (recall {found.recall:.3f}, "
        f"precision {found.precision:.3f}), {found.honest_dropped} of {found.honest} true ones"
    )
    assert found.bad >= 5
    assert found.recall >= 0.85, found.missed
    assert found.precision >= 0.9, found.false_faults


def test_errors_are_drawn_from_names_not_from_order(world):
    clip = next(iter(world.oracle.scenes))
    chunk = world.go(stages=()).find(clip)
    (case,) = chunk.cases([clip], ())
    frames = chunk.frames(case)
    nouns = sorted({i.cls for i in world.oracle.scenes[clip].truth.instances})
    detector = PerfectDetector(world.oracle, Dial(missed=0.3, swapped=0.3))
    together = detector.propose(frames, nouns, 5)
    alone = [p for t in reversed(range(len(frames))) for p in detector.propose(frames[t : t + 1], nouns[::-1], 5)]
    assert sorted((p.noun, p.score, p.box.x0) for p in together) == sorted((p.noun, p.score, p.box.x0) for p in alone)
    other = PerfectDetector(world.oracle, Dial(missed=0.3, swapped=0.3, seed=1)).propose(frames, nouns, 5)
    assert other != together


def test_what_no_clip_shows_is_an_error(world):
    nothing = np.zeros((2, 240, 352, 3), dtype=np.uint8)
    with pytest.raises(KeyError):
        PerfectDetector(world.oracle).propose(nothing, ["man"], 5)
    with pytest.raises(KeyError):
        PerfectTracker(world.oracle).propagate(nothing, [])


def test_users_cannot_ask_for_engines_that_know_the_truth():
    entries = [entry for kind in ENGINES.values() for entry in kind.values()]
    assert all(entry.engine.startswith("tasks.engines.") for entry in entries)
    with pytest.raises(ValueError, match="no drift is called"):
        Dial(drift="wobble")
