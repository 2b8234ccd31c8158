"""Scenes: what is drawn moves as its verb says, and the masks are where the figures are."""

import itertools
from collections import Counter
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.truth import Level
from tasks.media.clips import decode_mask
from tasks.world import render_scene
from tasks.world.motions import MOTIONS
from tasks.world.plots import Plot, make_plot
from tasks.world.scene import Scene
from tasks.world.staging import dice_of, make_scene
from tasks.world.words import COLOURS, KIND

SIZE, RATE = (480, 320), Fraction(6)


def plot_of(seed: int, level: Level) -> Plot:
    """The plot that `make_scene` stages for a seed, without the work of staging it."""
    return make_plot(dice_of(seed, level), level, silent=False)


@cache
def seeds_by_motion() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {motion: [] for motion in MOTIONS}
    for seed in range(600):
        plot = plot_of(seed, "plain")
        if plot.link == "single" and not plot.acts[0].instrument:
            found[plot.acts[0].verb.motion].append(seed)
    return found


def seeds_of(motion: str, count: int) -> list[int]:
    """The first seeds that show it; a test of fewer would show less than it says."""
    seeds = seeds_by_motion()[motion][:count]
    assert len(seeds) == count, motion
    return seeds


def staged(seed: int, level: Level = "plain") -> Scene:
    return make_scene(seed, level, size=SIZE, rate=RATE, cut=False)


def labels_of(scene: Scene) -> NDArray[np.uint8]:
    return np.stack([labels for _, labels in scene.frames()])


def grown(mask: NDArray[np.bool_], by: int = 3) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)).astype(bool)


HELD = ("push", "pull", "lift", "carry", "hold", "put", "pet", "hug")
MOMENT = ("drop", "kick", "throw", "hand", "bump")


@pytest.mark.parametrize("motion", [*HELD, *MOMENT])
def test_masks_touch_during_contact(motion: str) -> None:
    for seed in seeds_of(motion, 2):
        scene = staged(seed)
        act = scene.plot.acts[0]
        begin, end = scene.shots[0].beats[0]["verb"]
        labels = labels_of(scene)
        subject, thing = (scene.order.index(k) + 1 for k in (act.subject, act.object))
        touch = []
        for n in range(int(np.ceil(begin * RATE)), min(int(end * RATE), scene.count - 1) + 1):
            a, b = labels[n] == subject, labels[n] == thing
            if a.any() and b.any():
                touch.append(bool((grown(a) & b).any()))
        assert touch, (motion, seed)
        assert np.mean(touch) >= 0.8 if motion in HELD else any(touch), (motion, seed, touch)


@pytest.mark.parametrize("motion", ["push", "pull", "kick", "carry", "throw"])
def test_the_object_is_moved_sideways(motion: str) -> None:
    for seed in seeds_of(motion, 3):
        scene = staged(seed)
        act, shot = scene.plot.acts[0], scene.shots[0]
        begin, end = shot.beats[0].get("to", shot.beats[0]["verb"])
        end = end + 1.0 if motion == "kick" else end
        a, b = (shot.theatre.position(act.object, t)[0] for t in (begin, end))
        assert abs(b - a) > 0.12, (motion, seed)
        before = [shot.theatre.position(act.object, t)[0] for t in (0.0, begin)]
        if motion in ("push", "pull", "kick"):
            assert before[0] == pytest.approx(before[1]), "it moved before it was touched"


@pytest.mark.parametrize(("motion", "sign"), [("lift", 1), ("drop", -1), ("put", -1)])
def test_the_object_is_raised_or_lowered(motion: str, sign: int) -> None:
    for seed in seeds_of(motion, 3):
        scene = staged(seed)
        act, shot = scene.plot.acts[0], scene.shots[0]
        begin, end = shot.beats[0]["verb"]
        low, high = (shot.theatre.position(act.object, t)[2] for t in (begin, end + 0.1))
        assert sign * (high - low) > 0.04, (motion, seed)
        if sign < 0:
            assert high == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("motion", ["follow", "chase"])
def test_the_subject_comes_after_the_object(motion: str) -> None:
    for seed in seeds_of(motion, 4):
        scene = staged(seed)
        act, shot = scene.plot.acts[0], scene.shots[0]
        begin, end = shot.beats[0]["verb"]
        times = np.linspace(begin, end, 12)
        a, b = (np.array([shot.theatre.position(k, t)[0] for t in times]) for k in (act.subject, act.object))
        assert np.ptp(b) > 0.3
        assert np.ptp(a) > 0.2
        assert np.abs(a - b).max() < 1.2


def test_circling_goes_round() -> None:
    for seed in seeds_of("circle", 3):
        scene = staged(seed)
        act, shot = scene.plot.acts[0], scene.shots[0]
        begin, end = shot.beats[0]["verb"]
        centre = shot.theatre.position(act.object, begin)
        angles = []
        for t in np.linspace(begin, end, 60):
            x, y, _ = shot.theatre.position(act.subject, t)
            angles.append(np.arctan2((y - centre[1]) * 4, x - centre[0]))
        assert np.ptp(np.unwrap(angles)) > 2 * np.pi


def test_a_hand_over_changes_the_holder() -> None:
    for seed in seeds_of("hand", 3):
        scene = staged(seed)
        act, shot = scene.plot.acts[0], scene.shots[0]
        begin, end = shot.beats[0]["to"]
        assert shot.theatre.holder(act.object, begin) == act.subject
        assert shot.theatre.holder(act.object, end) == act.recipient


def test_an_instrument_bridges_hand_and_object() -> None:
    seeds = [s for s in range(400) if any(a.instrument for a in plot_of(s, "plain").acts)][:3]
    assert len(seeds) == 3
    for seed in seeds:
        scene = staged(seed)
        act = scene.plot.acts[0]
        labels = labels_of(scene)
        begin, end = scene.shots[0].beats[0]["verb"]
        n = round((begin + end) / 2 * RATE)
        subject, thing, tool = (
            grown(labels[n] == scene.order.index(k) + 1) for k in (act.subject, act.object, str(act.instrument))
        )
        assert (subject & tool).any()
        assert (tool & thing).any()


@pytest.mark.parametrize("level", ["plain", "hard"])
def test_the_action_stays_in_the_window_and_in_the_crop(level: Level) -> None:
    """Everyone in an act is inside the 3:2 region for a good part of their act, which ends before 6.1 s."""
    for seed in range(60):
        scene = make_scene(seed, level, size=(320, 240), rate=Fraction(6))
        for shot in scene.shots:
            for act, beats in zip(scene.plot.acts, shot.beats, strict=True):
                for begin, end in beats.values():
                    assert 0 <= begin < end <= 6.1
                times = np.linspace(*beats["verb"], 9)
                for key in (act.subject, act.object):
                    inside = [abs(shot.theatre.position(key, t)[0]) < 0.75 for t in times]
                    assert np.mean(inside) >= 0.4, (seed, key)


def test_plain_shows_what_makes_tracking_hard() -> None:
    """Crossings, overlap, things half hidden, exit and re-entry, first seen late: all in `plain`, and in few videos."""
    seen: Counter[str] = Counter()
    for seed in range(30):
        scene = make_scene(seed, "plain", size=(180, 120), rate=Fraction(3), cut=False)
        labels, theatre = labels_of(scene), scene.shots[0].theatre
        spots = np.array([[theatre.position(k, n / 3)[0] for n in range(len(labels))] for k in scene.order])
        areas = np.stack([(labels == i + 1).sum((1, 2)) for i in range(len(scene.order))])
        visible = areas > 0
        kinds = set()
        for x, area, there in zip(spots, areas, visible, strict=True):
            if not there.any():
                continue
            when = np.flatnonzero(there)
            gone = ~there[when[0] : when[-1]] & (np.abs(x[when[0] : when[-1]]) > theatre.edge)
            well_inside = np.abs(x) < theatre.edge - 0.15
            kinds |= {"seen late"} if when[0] >= 3 else set()
            kinds |= {"exit and re-entry"} if gone.any() else set()
            kinds |= {"half hidden"} if (well_inside & (area < 0.5 * np.median(area[there]))).any() else set()
        for i, j in itertools.combinations(range(len(scene.order)), 2):
            both = visible[i] & visible[j]
            apart = (spots[i] - spots[j])[both]
            kinds |= {"crossing"} if (apart[1:] * apart[:-1] < 0).any() else set()
            frames = np.flatnonzero(both)
            kinds |= {"overlap"} if any(_boxes_meet(labels[n] == i + 1, labels[n] == j + 1) for n in frames) else set()
        seen.update(kinds)
    for kind in ("seen late", "exit and re-entry", "half hidden", "crossing", "overlap"):
        assert seen[kind] >= 3, seen


def _boxes_meet(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> bool:
    return all(
        np.flatnonzero(a.any(axis))[0] <= np.flatnonzero(b.any(axis))[-1]
        and np.flatnonzero(b.any(axis))[0] <= np.flatnonzero(a.any(axis))[-1]
        for axis in (0, 1)
    )


def test_plain_tells_its_cast_apart() -> None:
    """No two mentioned instances of one class share colour and place; two to six instances are drawn."""
    for seed in range(300):
        plot = plot_of(seed, "plain")
        told = [*plot.cast, *(e for e, _ in plot.extras if e.key in plot.spoken)]
        assert len({(a.cls, a.colour, a.place) for a in told}) == len(told)
        assert 2 <= len(plot.cast) + len(plot.extras) <= 6


def test_hard_has_doubles_that_cross() -> None:
    doubles = 0
    for seed in range(200):
        plot = plot_of(seed, "hard")
        living = {(a.cls, a.colour) for a in plot.cast if KIND[a.cls] in ("person", "animal")}
        doubles += any(does == "crosses" and (e.cls, e.colour) in living for e, does in plot.extras)
    assert doubles >= 20


def test_render_scene_gives_frames_and_truth() -> None:
    frames, truth = render_scene(2, "plain")
    assert frames.shape == (truth.frames, truth.height, truth.width, 3)
    assert frames.dtype == np.uint8
    named = {t.subject for t in truth.triplets} | {t.object for t in truth.triplets}
    for instance in truth.instances:
        assert len(instance.masks) == truth.frames
        areas = [decode_mask(m, truth.height, truth.width).sum() for m in instance.masks]
        assert max(areas) > 60
        assert (instance.mentions != ()) or instance.id not in named
    stack = sum(decode_mask(i.masks[5], truth.height, truth.width).astype(int) for i in truth.instances)
    assert stack.max() <= 1, "masks are visible pixels: they cannot overlap"


def test_the_main_colour_dominates_the_figure() -> None:
    """Seen at its largest, most pixels of an instance are nearer to its own colour word than to any other."""
    palette, names = np.array(list(COLOURS.values()), dtype=float), list(COLOURS)
    right = []
    for seed in range(12):
        scene = make_scene(seed, "plain", size=(360, 240), rate=Fraction(2), cut=False)
        colour = {a.key: a.colour for a in (*scene.plot.cast, *(e for e, _ in scene.plot.extras))}
        best: dict[str, NDArray[np.float64]] = {}
        for picture, labels in scene.frames():
            for k, key in enumerate(scene.order):
                pixels = picture[labels == k + 1].astype(float)
                if len(pixels) > len(best.get(key, ())):
                    best[key] = pixels
        for key, pixels in best.items():
            nearest = np.linalg.norm(pixels[:, None] - palette[None], axis=2).argmin(axis=1)
            right.append(names[np.bincount(nearest, minlength=len(names)).argmax()] == colour[key])
    assert len(right) > 30
    assert np.mean(right) >= 0.95


def test_a_cut_shows_the_story_twice() -> None:
    for seed in range(3):
        scene = make_scene(seed, "plain", size=(240, 160), rate=Fraction(4), cut=True)
        truth = scene.truth("x.mp4", {key: [None] * scene.count for key in scene.order})
        second = round(scene.shots[1].start * scene.rate)
        for triplet in truth.triplets:
            (again,) = triplet.repeats
            assert triplet.end_frame <= second <= again.start < again.end <= truth.frames
