"""The embedded tracker on small drawn scenes whose masks are known."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas import Anchor, Box, Track
from tasks.engines.embedded import appearance, flow, segments
from tasks.engines.embedded.tracker import EmbeddedTracker, without_shadow
from tasks.media.clips import decode_mask
from tasks.world.score.davis import j_and_f, region_iou

T, H, W = 20, 144, 216
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Figure:
    """A head over a body over legs, 16 wide and 52 high, with its left edge at x(t)."""

    x: Callable[[int], int]
    y: int
    body: Colour
    legs: Colour
    skin: Colour = (224, 180, 150)


@cache
def ground() -> NDArray[np.uint8]:
    """A grey-green wall with smooth spots, wider than the picture."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(-1, 1, (24, 40, 1)).astype(np.float32)
    spots = np.asarray(cv2.resize(coarse, (W + 60, H + 20), interpolation=cv2.INTER_CUBIC))[..., None]
    return np.clip(np.array([128, 136, 120]) + 16 * spots, 0, 255).astype(np.uint8)


def scene(figures: list[Figure]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Frames [T, H, W, 3] under a slow pan, later figures in front, and visible masks [n, T, H, W]."""
    rng = np.random.default_rng(4)
    frames = np.empty((T, H, W, 3), dtype=np.uint8)
    masks = np.zeros((len(figures), T, H, W), dtype=bool)
    for t in range(T):
        picture = ground()[8 : 8 + H, 10 + t : 10 + t + W].copy()
        for k, f in enumerate(figures):
            drawn = np.zeros((H, W), dtype=np.uint8)
            x, y = f.x(t), f.y
            for part, colour in (
                ((slice(y + 12, y + 34), slice(max(x, 0), max(x + 16, 0))), f.body),
                ((slice(y + 34, y + 52), slice(max(x + 3, 0), max(x + 13, 0))), f.legs),
                ((slice(y, y + 12), slice(max(x + 3, 0), max(x + 13, 0))), f.skin),
            ):
                picture[part], drawn[part] = colour, 1
            masks[:k, t] &= drawn == 0
            masks[k, t] = drawn > 0
        noisy = cv2.GaussianBlur(picture, (0, 0), 0.6) + rng.normal(0, 2, picture.shape)
        frames[t] = np.clip(noisy, 0, 255)
    return frames, masks


def anchor(who: str, frame: int, mask: NDArray[np.bool_]) -> Anchor:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1] + 1), y1=float(rows[-1] + 1))
    return Anchor(id=who, frame=frame, box=box, score=0.9, confidence=0.9)


def decoded(track: Track) -> NDArray[np.bool_]:
    return np.stack([decode_mask(rle, H, W) for rle in track.masks])


def mean_jf(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return float(np.mean([j_and_f(p, q) for p, q in zip(found, true, strict=True)]))


RED = Figure(lambda t: 20 + 6 * t, 50, body=(200, 40, 40), legs=(60, 60, 90))
BLUE = Figure(lambda t: 180 - 6 * t, 58, body=(40, 60, 200), legs=(60, 60, 90))


def test_two_that_cross_keep_their_names() -> None:
    frames, true = scene([RED, BLUE])
    tracks = EmbeddedTracker().propagate(frames, [anchor("id1", 2, true[0, 2]), anchor("id2", 17, true[1, 17])])
    assert [t.id for t in tracks] == ["id1", "id2"]
    for k, track in enumerate(tracks):
        found = decoded(track)
        assert mean_jf(found, true[k]) > 0.85
        for t in (0, T - 1):
            assert region_iou(found[t], true[k, t]) > 0.7 > 0.1 > region_iou(found[t], true[1 - k, t])


def test_leaves_the_picture_and_comes_back() -> None:
    """Out of view in the middle of the clip: empty there, the same name after."""
    away = Figure(lambda t: 20 - 8 * min(t, T - 1 - t), 50, body=(200, 40, 40), legs=(60, 60, 90))
    frames, true = scene([away])
    assert not true[0, 9].any()
    (track,) = EmbeddedTracker().propagate(frames, [anchor("id1", 0, true[0, 0])])
    found = decoded(track)
    assert all(region_iou(found[t], true[0, t]) > 0.7 for t in (0, 1, T - 2, T - 1))
    assert track.masks[9] is None and track.masks[10] is None


def test_anchored_in_the_middle_and_absent_before() -> None:
    late = Figure(lambda t: 6 * t - 60, 40, body=(220, 190, 30), legs=(90, 50, 30))
    frames, true = scene([late, BLUE])
    tracks = EmbeddedTracker().propagate(frames, [anchor("id1", 15, true[0, 15]), anchor("id2", 15, true[1, 15])])
    found = decoded(tracks[0])
    assert not found[:6].any()
    assert mean_jf(found[12:], true[0, 12:]) > 0.8


def test_one_that_stands_still_is_not_background() -> None:
    still = Figure(
        lambda t: 100 - t, 50, body=(150, 40, 160), legs=(40, 40, 60)
    )  # stands on the wall while the camera pans
    frames, true = scene([still])
    (track,) = EmbeddedTracker().propagate(frames, [anchor("id1", 10, true[0, 10])])
    assert mean_jf(decoded(track), true[0]) > 0.8


def test_the_same_call_gives_the_same_masks_in_any_thread() -> None:
    frames, true = scene([RED, BLUE])
    anchors = [anchor("id1", 2, true[0, 2]), anchor("id2", 17, true[1, 17])]
    first = EmbeddedTracker().propagate(frames, anchors)
    cv2.setRNGSeed(99)
    np.random.seed(99)
    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(lambda _: EmbeddedTracker().propagate(frames, anchors), range(2)))
    assert again == [first, first]


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (W - 1, H - 1, W, H), (-5, -5, W + 5, H + 5)])
def test_any_box_inside_or_over_the_border_is_taken(box: tuple[float, float, float, float]) -> None:
    frames, _ = scene([RED])
    one = Anchor(id="id1", frame=0, box=Box(x0=box[0], y0=box[1], x1=box[2], y1=box[3]), score=0.5, confidence=0.5)
    (track,) = EmbeddedTracker().propagate(frames[:3], [one])
    assert len(track.masks) == 3
    (track,) = EmbeddedTracker().propagate(frames[:1], [one])
    assert len(track.masks) == 1


def on_the_floor(mask: NDArray[np.bool_], leg: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Lab frame of an orange thing over its shadow on a grey floor: rows from 60 on of `mask` are shadow, but for legs
    of `leg` pixels at either end; and the floor that is in no box."""
    lab = np.full((H, W, 3), (150, 128, 128), dtype=np.uint8)
    lab[mask] = (170, 160, 180)
    columns = np.flatnonzero(mask.any(0))
    lab[60:70, columns[0] + leg : columns[-1] + 1 - leg] = (105, 128, 128)
    return lab, ~mask


def test_shadow_between_the_legs_of_a_wide_thing_is_left_out() -> None:
    mask = np.zeros((H, W), dtype=bool)
    mask[30:70, 80:140] = True
    lab, free = on_the_floor(mask, leg=10)
    solid = without_shadow(mask, appearance.codes(lab), free)
    assert not solid[60:70, 92:128].any()
    assert solid[30:60, 80:140].all() and solid[30:70, 80:90].all() and solid[30:70, 130:140].all()


def test_legs_of_an_upright_figure_stay_whatever_their_colour() -> None:
    mask = np.zeros((H, W), dtype=bool)
    mask[10:70, 100:120] = True
    lab, free = on_the_floor(mask, leg=2)
    assert np.array_equal(without_shadow(mask, appearance.codes(lab), free), mask)


def test_affine_of_a_known_motion_is_found_through_outliers() -> None:
    ys, xs = np.mgrid[0:H, 0:W].astype(np.float32)
    true = np.array([[1.02, 0.01, -3.0], [-0.01, 1.02, 2.0]])
    points = np.stack([xs, ys, np.ones_like(xs)], axis=-1) @ true.T
    moved = (points - np.stack([xs, ys], axis=-1)).astype(np.float32)
    moved[30:90, 50:110] += 12
    assert np.abs(flow.fit_affine(moved) - true).max() < 0.05
    assert np.allclose(flow.compose(flow.invert(true), true), np.eye(2, 3), atol=1e-9)


def test_colour_models() -> None:
    lab = np.zeros((10, 10, 3), dtype=np.uint8)
    lab[...] = (120, 150, 110)
    lab[5:] = (200, 128, 128)
    codes = appearance.codes(lab)
    top, both = appearance.histogram(codes[:5]), appearance.histogram(codes)
    assert top.sum() == pytest.approx(1) and appearance.alike(top, top) == pytest.approx(1)
    assert appearance.alike(top, both) == pytest.approx(np.sqrt(0.5), abs=0.01)
    own = appearance.own(both, appearance.histogram(codes[5:]))
    table = appearance.log_density(own)
    assert table[codes[0, 0]] > table[codes[9, 9]] + 1
    dark = lab[5:].copy()
    dark[..., 0] = 150
    shaded = appearance.log_density(appearance.shaded(appearance.histogram(codes[5:])))
    assert shaded[appearance.codes(dark)[0, 0]] > 3 > shaded[codes[0, 0]]


def test_segments_keep_to_edges() -> None:
    lab = np.full((60, 60, 3), 128, dtype=np.uint8)
    lab[:, 31:, 0] = 200
    parts = segments.segment(lab)
    left, right = set(parts[:, :30].ravel().tolist()), set(parts[:, 33:].ravel().tolist())
    assert not left & right and len(left) > 10
    assert np.bincount(parts.ravel()).max() <= (segments.CELL + 2) ** 2
    values = np.zeros((60, 60), dtype=np.float32)
    values[0, 0] = 10
    averaged = segments.average(values, parts)
    assert averaged.sum() == pytest.approx(10) and averaged[0, 0] == averaged[1, 1] < 1
