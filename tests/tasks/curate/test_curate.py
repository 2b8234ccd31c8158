"""Stage `curate`: the numbers of drawn tracks, worked out by hand, and the decisions on them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas import (
    Anchor,
    Box,
    Captioned,
    Clip,
    Curated,
    Geometry,
    Instance,
    Interaction,
    MediaFacts,
    Rating,
    Reason,
    RoleSpans,
    Row,
    SourceVideo,
    Span,
    Status,
    Track,
    Tracked,
    TrackNumbers,
    Verified,
    Window,
)
from tasks.curate.numbers import measure
from tasks.curate.stage import CurateSettings, curate
from tasks.media.clips import encode_mask
from tasks.outcome import Case

T, H, W = 20, 96, 128
Masks = NDArray[np.bool_]


def block(x: Callable[[int], int], y: int = 30, side: int = 16, seen: Callable[[int], bool] = lambda _: True) -> Masks:
    """A square whose left edge is x(t), cut by the image border, where `seen`."""
    masks = np.zeros((T, H, W), dtype=bool)
    for t in range(T):
        if seen(t):
            masks[t, y : y + side, max(x(t), 0) : max(x(t) + side, 0)] = True
    return masks


def anchor(who: str, frame: int, box: tuple[float, float, float, float], score: float = 0.9) -> Anchor:
    return Anchor(id=who, frame=frame, box=Box(x0=box[0], y0=box[1], x1=box[2], y1=box[3]), score=score, confidence=0.9)


def box_of(mask: Masks) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def act(subject: str, verb: str, target: str, contact: int = 4) -> Interaction:
    spans = RoleSpans(subject=(Span(start=0, end=1),), verb=(Span(start=1, end=2),), object=(Span(start=2, end=3),))
    return Interaction(
        subject=subject, verb=verb, object=target, text=f"<{subject}> {verb} <{target}>",
        type="multi subject relation", source_sentence="A b c.", spans=spans,
        rating=Rating(contact=contact, dynamism=3, explanation="", confidence=0.9),
    )  # fmt: skip


def clip() -> Clip:
    source = SourceVideo(
        source_id="0" * 16, uris=("a.mp4",), digest="0" * 64, size_bytes=1, caption="a", dataset="world"
    )
    facts = MediaFacts(
        container="mp4", codec="h264", pixel_format="yuv420p", width=W, height=H, rotation=0, fps=8, duration_s=1,
        frames=T, has_audio=False,
    )  # fmt: skip
    return Clip(
        clip_id="00000000000000aa", source=source, facts=facts,
        window=Window(scene=0, index=0, source_frames=tuple(range(T)), start_s=0, end_s=1),
        geometry=Geometry(source_width=W, source_height=H, scale=1, offset_x=0, offset_y=0),
        path="a.mp4", media_digest="0" * 64, width=W, height=H, frames=T, fps=8, phash=(),
    )  # fmt: skip


def case(
    tracks: dict[str, Masks],
    acts: Sequence[Interaction],
    classes: dict[str, str] | None = None,
    anchors: dict[str, Anchor] | None = None,
    likeness: dict[str, tuple[float | None, ...]] | None = None,
) -> Case:
    """Anchors are the masks' own boxes at frame 2, unless given."""
    instances = tuple(
        Instance(id=i, cls=(classes or {}).get(i, f"thing {i}"), noun=i, app="", spatial="") for i in tracks
    )
    found = {i: (anchors or {}).get(i) or anchor(i, 2, box_of(m[2])) for i, m in tracks.items()}
    return Case(
        clip(),
        (Captioned(
            caption="A b c.", caption_by="sidecar", counted=1, instances=instances, interactions=tuple(acts),
            prompts="1", model="m",
        ),
        Verified(
            anchors=tuple(found.values()), interactions=tuple(a.text for a in acts), verifier="v",
        ),
        Tracked(
            height=H, width=W, tracker="t",
            tracks=tuple(
                Track(id=i, masks=tuple(encode_mask(f) for f in m), likeness=(likeness or {}).get(i, ()))
                for i, m in tracks.items()
            ),
        )),
    )  # fmt: skip


def run(one: Case, settings: CurateSettings | None = None) -> Row[Curated]:
    (row,) = curate([one], settings or CurateSettings())
    return row


def faults(row: Row[Curated]) -> dict[str, str]:
    assert row.payload is not None
    return {d.what: d.reason for d in row.payload.dropped}


STILL = block(lambda _: 100, y=60)


def test_numbers_of_a_square_with_a_gap() -> None:
    masks = block(lambda t: 10 + 2 * t, seen=lambda t: t not in (5, 6, 7, 19))
    track = Track(
        id="id1", masks=tuple(encode_mask(m) for m in masks), likeness=(0.9,) * 5 + (None,) * 3 + (0.7,) * 11 + (0.6,)
    )
    n = measure(track, anchor("id1", 2, (14, 30, 30, 38)), (H, W), 0.25)
    assert n.visible_share == 16 / 20
    assert n.longest_gap == 3
    assert n.area_jump == 0 and n.growth == 0 and n.fragments == 0
    assert n.anchor_iou == pytest.approx(0.5)
    assert n.side == pytest.approx(16 / 96)
    assert n.same_class_iou == 0.25
    assert n.likeness == pytest.approx(0.7) and n.least_likeness == pytest.approx(0.6)


def test_numbers_of_growth_and_jump() -> None:
    masks = block(lambda _: 10)
    masks[10:, 10:74, 10:26] = True  # 16x16 → 16x64 at once: two doublings
    n = measure(Track(id="id1", masks=tuple(encode_mask(m) for m in masks)), anchor("id1", 2, (0, 0, 9, 9)), (H, W), 0)
    assert n.area_jump == pytest.approx(2) and n.growth == pytest.approx(2)
    assert n.likeness == n.least_likeness == 1  # nothing on record
    flicker = block(lambda _: 10)
    flicker[10, 10:74, 10:26] = True
    n = measure(
        Track(id="id1", masks=tuple(encode_mask(m) for m in flicker)), anchor("id1", 2, (0, 0, 9, 9)), (H, W), 0
    )
    assert n.area_jump == pytest.approx(2) and n.growth == 0


@pytest.mark.parametrize(("frames", "growth"), [(2, 0), (3, 2), (6, 2)])
def test_growth_counts_when_it_lasts_most_of_five_frames(frames: int, growth: float) -> None:
    masks = block(lambda _: 10)
    masks[8 : 8 + frames, 10:74, 10:26] = True  # 16x16 → 16x64
    n = measure(Track(id="id1", masks=tuple(encode_mask(m) for m in masks)), anchor("id1", 2, (0, 0, 9, 9)), (H, W), 0)
    assert n.growth == pytest.approx(growth)


def test_numbers_of_a_track_without_a_mask_are_the_worst() -> None:
    n = measure(Track(id="id1", masks=(None,) * T), anchor("id1", 2, (0, 0, 9, 9)), (H, W), 0)
    assert n == TrackNumbers(
        id="id1", visible_share=0, longest_gap=0, area_jump=0, fragments=1, anchor_iou=0, side=0, same_class_iou=0,
        growth=0, area_step=0, leap=0, likeness=0, least_likeness=0,
    )  # fmt: skip


def halved(t0: int, t1: int) -> Masks:
    """A square that shows its upper half only in the frames t0 … t1-1."""
    masks = block(lambda t: 10 + t)
    masks[t0:t1, 38:] = False
    return masks


@pytest.mark.parametrize(
    ("masks", "step"),
    [
        (halved(9, T), 1.0),  # one halving that stays
        (halved(0, 9), 1.0),  # and one backwards in time
        (halved(9, 12), 0.0),  # hidden for three frames
        (halved(9, 13), 0.5),  # for half of the frames that are looked at on one side
        (halved(T - 3, T), 1.0),  # three frames on each side are enough
        (halved(3, T), 1.0),
        (halved(T - 2, T), 0.0),  # too near the end to say
        (halved(2, T), 0.0),
        (block(lambda t: 16 * t - 16 * T // 2, seen=lambda t: t != 12), 0.0),  # enters, is away, leaves
    ],
)
def test_numbers_of_a_step_that_lasts(masks: Masks, step: float) -> None:
    track = Track(id="id1", masks=tuple(encode_mask(m) for m in masks))
    n = measure(track, anchor("id1", 10, (0, 0, 9, 9)), (H, W), 0)
    assert n.area_step == pytest.approx(step)


def test_a_slow_loss_is_no_step() -> None:
    masks = block(lambda _: 10, side=32)
    for t in range(T):
        masks[t, 62 - t :] = False
    n = measure(Track(id="id1", masks=tuple(encode_mask(m) for m in masks)), anchor("id1", 2, (0, 0, 9, 9)), (H, W), 0)
    assert 0 < n.area_step < 0.1


@pytest.mark.parametrize(
    ("x", "seen", "leap"),
    [
        (lambda t: 0 if t < 9 else 64, lambda _: True, 3.0),  # over to another, 48 pixels away
        (lambda t: 64 if t == 9 else 0, lambda _: True, 3.0),  # for one frame
        (lambda t: 0 if t < 9 else 64, lambda t: t not in (9, 10), 1.0),  # within three frames
        (lambda t: 0 if t < 1 else 64, lambda _: True, 3.0),  # at the very start
        (lambda t: 40 * t - 60, lambda _: True, 0.0),  # flies through, visible in frames 2, 3 and 4
        (lambda t: 12 * t, lambda _: True, 0.0),
        (lambda t: 20 * t, lambda t: t in (0, 1, 4, 5), 0.0),  # as fast while it is hidden
        (lambda _: 5, lambda t: t == 3, 0.0),
    ],
)
def test_numbers_of_a_leap(x: Callable[[int], int], seen: Callable[[int], bool], leap: float) -> None:
    track = Track(id="id1", masks=tuple(encode_mask(m) for m in block(x, seen=seen)))
    n = measure(track, anchor("id1", 3, (0, 0, 9, 9)), (H, W), 0)
    assert n.leap == pytest.approx(leap)


def test_numbers_of_fragments() -> None:
    masks = np.zeros((T, H, W), dtype=bool)
    masks[:, 10:20, 10:20] = True
    masks[:, 40:50, 40:45] = True
    n = measure(Track(id="id1", masks=tuple(encode_mask(m) for m in masks)), anchor("id1", 2, (0, 0, 9, 9)), (H, W), 0)
    assert n.fragments == pytest.approx(1 / 3)


def test_honest_tracks_pass() -> None:
    """Enters at the border, leaves at the other; goes behind a post; comes back after being away."""
    crosses = block(lambda t: -40 + 10 * t, y=5)
    hidden = block(lambda t: 20 + 4 * t, y=30)
    hidden[:, :, 50:62] = False
    away = block(lambda _: 90, y=70, seen=lambda t: t < 5 or t > 14)
    anchors = {"id1": anchor("id1", 8, box_of(crosses[8]))}
    row = run(
        case({"id1": crosses, "id2": hidden, "id3": away}, [act("id1", "passes", "id2"), act("id2", "sees", "id3")],
             anchors=anchors)
    )  # fmt: skip
    assert row.payload is not None
    assert row.payload.ids == ("id1", "id2", "id3") and row.payload.dropped == ()
    assert [n.longest_gap for n in row.payload.numbers] == [0, 0, 10]


def bad_tracks() -> dict[str, tuple[Masks, Anchor | None, tuple[float | None, ...]]]:
    jumps = block(lambda _: 10)
    jumps[8:, 20:90, 10:90] = True
    parted = block(lambda _: 10)
    parted[9:, 36:] = False  # three eighths stay: 2^-1.4
    creeps = block(lambda _: 10)
    for t in range(T):
        creeps[t, 30 : 46 + 2 * t, 10 : 26 + 3 * t] = True
    dust = np.zeros((T, H, W), dtype=bool)
    dust[:, 10:90:8, 10:90:8] = True
    dust[:, 11:90:8, 10:90:8] = True
    return {
        "no_mask": (np.zeros((T, H, W), dtype=bool), anchor("id2", 2, (0, 0, 9, 9)), (None,) * T),
        "missing_frames": (block(lambda _: 10, seen=lambda t: 1 <= t < 4), None, ()),
        "long_gap": (block(lambda _: 10, seen=lambda t: t < 4 or t > 17), None, ()),
        "tiny": (block(lambda _: 10, side=2), None, ()),
        "off_anchor": (block(lambda t: 10 + t), anchor("id2", 10, (10, 30, 26, 46)), ()),
        "area_jump": (jumps, None, ()),
        "area_step": (parted, None, ()),
        "leap": (block(lambda t: 10 if t < 9 else 70), None, ()),
        "growth": (creeps, None, ()),
        "fragmented": (dust, None, ()),
        "unlike_anchor": (block(lambda t: 10 + t), None, tuple(1 - t / T for t in range(T))),
        "unlike_once": (block(lambda t: 10 + t), None, (1.0,) * 9 + (0.7,) + (1.0,) * 10),
    }


@pytest.mark.parametrize("reason", sorted(bad_tracks()))
def test_each_check_drops_its_track(reason: str) -> None:
    masks, given, likeness = bad_tracks()[reason]
    good = block(lambda t: 60 + t, y=70)
    one = case(
        {"id1": good, "id2": masks, "id3": STILL},
        [act("id1", "pushes", "id2"), act("id1", "pushes", "id3")],
        anchors={"id2": given} if given else None,
        likeness={"id2": likeness},
    )
    row = run(one)
    assert faults(row) == {"id2": reason, "<id1> pushes <id2>": "lost_instance"}
    assert row.payload is not None and row.payload.ids == ("id1", "id3")
    assert row.payload.interactions == ("<id1> pushes <id3>",)
    assert [n.id for n in row.payload.numbers] == ["id1", "id2", "id3"]


def test_no_interaction_left_rejects_with_the_numbers() -> None:
    row = run(case({"id1": STILL, "id2": block(lambda _: 10, side=2)}, [act("id1", "pushes", "id2")]))
    assert row.status is Status.REJECTED and row.reason is Reason.BAD_TRACKS
    assert "id2 tiny (median side 0.021)" in row.detail and "side=0.021" in row.detail
    assert "id1 no_interaction" in row.detail


def test_of_two_same_class_tracks_on_one_thing_the_worse_goes() -> None:
    true = block(lambda t: 10 + 2 * t)
    other = block(lambda t: 60 + t, y=50)
    swapped = other.copy()
    swapped[6:] = true[6:]
    acts = [act("id1", "pushes", "id3"), act("id2", "pushes", "id3")]
    dogs = {"id1": "dog", "id2": "dog"}
    like = {"id2": (1.0,) * 6 + (0.95,) * 14}
    row = run(case({"id1": true, "id2": swapped, "id3": STILL}, acts, dogs, likeness=like))
    assert faults(row) == {"id2": "same_as_other", "<id2> pushes <id3>": "lost_instance"}
    assert row.payload is not None and row.payload.numbers[0].same_class_iou == pytest.approx(0.7)
    for others in ({"id1": "dog", "id2": "cat"}, {"id1": "cat", "id2": "dog"}):
        row = run(case({"id1": true, "id2": swapped, "id3": STILL}, acts, others, likeness=like))
        assert faults(row) == {}  # of two classes: a cup in a hand may be both


def test_two_same_class_tracks_that_cross_stay() -> None:
    right, left = block(lambda t: 10 + 4 * t), block(lambda t: 90 - 4 * t)
    row = run(case({"id1": right, "id2": left}, [act("id1", "passes", "id2")], {"id1": "dog", "id2": "dog"}))
    assert row.status is Status.ACCEPTED and row.payload is not None
    assert 0.05 < row.payload.numbers[0].same_class_iou < 0.4


def test_at_most_five_ids_the_most_involved_stay() -> None:
    tracks = {f"id{k}": block(lambda t, k=k: 5 + 14 * k + t // 4, y=10 * k, side=10) for k in range(1, 8)}  # type: ignore[misc]
    acts = [
        act("id1", "pushes", "id2"), act("id2", "pushes", "id1"), act("id1", "pulls", "id2"),
        act("id3", "pulls", "id1"), act("id4", "lifts", "id5"), act("id6", "lifts", "id7", contact=5),
    ]  # fmt: skip
    row = run(case(tracks, acts))
    assert row.payload is not None
    # id5 and id4 share one weak interaction and go together; then id6 and id7 fill the five.
    assert row.payload.ids == ("id1", "id2", "id3", "id6", "id7")
    assert faults(row) == {"id4": "too_many_ids", "id5": "too_many_ids", "<id4> lifts <id5>": "lost_instance"}


def test_how_often_an_id_acts_goes_before_how_its_acts_rate() -> None:
    """id2 has two faint interactions, id4 a single strong one: the once involved goes."""

    def rated(one: Interaction, score: int) -> Interaction:
        return one.model_copy(update={"rating": one.rating.model_copy(update={"contact": score, "dynamism": score})})

    tracks = {f"id{k}": block(lambda t, k=k: 20 * k + t // 8, y=10 * k) for k in range(1, 5)}  # type: ignore[misc]
    acts = [rated(act("id1", "pats", "id2"), 1), rated(act("id3", "pats", "id2"), 1),
            rated(act("id1", "lifts", "id4"), 5), rated(act("id1", "lifts", "id3"), 5)]  # fmt: skip
    row = run(case(tracks, acts), CurateSettings(max_ids=3))
    assert row.payload is not None
    assert row.payload.ids == ("id1", "id2", "id3")


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_thing_that_the_image_border_cuts_has_not_changed(side: str) -> None:
    """It slides out to a quarter within one frame and stays there: that is no jump and no step of its area."""
    masks = np.zeros((T, H, W), dtype=bool)
    height = H if side in ("top", "bottom") else W
    for t in range(T):
        out = 12 if t >= T // 2 else 0
        lines = masks[t] if side in ("top", "bottom") else masks[t].T
        first = -out if side in ("top", "left") else height - 16 + out
        lines[max(first, 0) : first + 16, 30:46] = True
        if not out:  # whole, and clear of the border
            shift = 1 if side in ("top", "left") else -1
            lines[:] = np.roll(lines, shift, axis=0)
    track = Track(id="id1", masks=tuple(map(encode_mask, masks)))
    numbers = measure(track, anchor("id1", 2, box_of(masks[2])), (H, W), 0)
    assert numbers.area_jump == numbers.area_step == 0
    assert masks.sum((1, 2)).tolist() == [256] * (T // 2) + [64] * (T // 2)


def test_an_id_whose_partner_is_gone_goes_too() -> None:
    tracks = {
        "id1": block(lambda t: 10 + t),
        "id2": STILL,
        "id3": block(lambda _: 60, y=5),
        "id4": block(lambda _: 9, side=2),
    }
    row = run(case(tracks, [act("id1", "pushes", "id2"), act("id3", "lifts", "id4")]))
    assert faults(row) == {"id4": "tiny", "id3": "no_interaction", "<id3> lifts <id4>": "lost_instance"}


def test_rows_keep_the_order_and_settings_are_obeyed() -> None:
    good = case({"id1": block(lambda t: 10 + t), "id2": STILL}, [act("id1", "pushes", "id2")])
    bad = case({"id1": block(lambda t: 10 + t), "id2": block(lambda _: 9, side=2)}, [act("id1", "pushes", "id2")])
    assert [r.status for r in curate([bad, good], CurateSettings())] == [Status.REJECTED, Status.ACCEPTED]
    assert run(bad, CurateSettings(min_side=0.01)).status is Status.ACCEPTED


SHARES = (
    "min_visible_share", "max_gap_share", "max_fragments", "min_anchor_iou", "min_likeness", "min_least_likeness",
    "max_same_class_iou", "min_side",
)  # fmt: skip


@pytest.mark.parametrize("name", SHARES)
def test_a_share_is_between_none_and_all(name: str) -> None:
    for fine in (0, 1):
        assert getattr(CurateSettings(**{name: fine}), name) == fine
    for bad in (-0.1, 1.1):
        with pytest.raises(ValidationError, match=name):
            CurateSettings(**{name: bad})
