"""Stage `curate`: the automatic form of the paper's checks on tracks (App. A.2), from the masks alone, no frames.

Every track is measured; the numbers go on record. A track that fails a check is dropped with the check's name; of two
tracks of one class that cover the same thing the worse goes; an interaction lives as long as its subject and object do.
Being hidden or out of view is no fault: gaps, entries, exits and half-hidden masks are measured apart from drift.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from pydantic import Field

from schemas import (
    Anchor,
    Captioned,
    Curated,
    Dropped,
    Interaction,
    Reason,
    Row,
    Track,
    Tracked,
    TrackNumbers,
    Verified,
)
from schemas.settings import Settings
from tasks.errors import Reject
from tasks.media.clips import decode_mask
from tasks.outcome import Case, settle_each
from tasks.spec import StageSpec

SUSTAINED = 5
"""Visible frames in a row whose median must be bad before growth or unlikeness counts: one odd frame is no drift."""

LASTING = 8
"""Visible frames on each side whose medians must differ before a step of the area counts; of fewer, at least three."""

SAMPLED = 16
"""Masks decoded to judge fragmentation, evenly spaced over the visible frames."""

MIN_GROWTH_BASE = 0.25
"""Share of the anchor's area from which a mask counts as fully seen; below, it is half hidden, entering or leaving."""


class CurateSettings(Settings):
    """Thresholds. A track must meet all of them; the numbers they refer to are `TrackNumbers`."""

    min_visible_share: float = Field(default=0.2, ge=0, le=1, description="least share of frames with a mask")
    max_gap_share: float = Field(default=0.6, ge=0, le=1, description="longest gap, as a share of the clip's frames")
    max_area_jump: float = Field(default=2.0, ge=0, description="largest |log2| change of area from frame to frame")
    max_area_step: float = Field(
        default=1.0, ge=0, description="largest lasting |log2| change of area from one frame to the next"
    )
    max_leap: float = Field(default=2.5, ge=0, description="farthest leap between two frames, in sides of the thing")
    max_growth: float = Field(default=1.6, ge=0, description="largest lasting growth since the anchor frame, in log2")
    max_fragments: float = Field(default=0.5, ge=0, le=1, description="share of the mask outside its biggest part")
    min_anchor_iou: float = Field(default=0.5, ge=0, le=1, description="IoU of the mask's box with the anchor box")
    min_likeness: float = Field(default=0.9, ge=0, le=1, description="lasting likeness to the anchor's colours")
    min_least_likeness: float = Field(default=0.85, ge=0, le=1, description="likeness to them in every single frame")
    max_same_class_iou: float = Field(default=0.5, ge=0, le=1, description="mean IoU from which two are one thing")
    min_side: float = Field(default=1 / 32, ge=0, le=1, description="sqrt(area) as a share of the shorter side")
    max_ids: int = Field(default=5, ge=2, description="IDs a clip may keep; the most involved ones stay")


def curate(cases: Sequence[Case], settings: CurateSettings) -> Iterator[Row[Curated]]:
    """One row a clip, in the order of `cases`, which must carry `Captioned`, `Verified` and `Tracked`.

    A clip that keeps no interaction is rejected as BAD_TRACKS, with the faults and the numbers behind them as detail.
    """
    yield from settle_each(cases, lambda case: _curate(case, settings))


def _curate(case: Case, settings: CurateSettings) -> Curated:
    captioned, verified, tracked = case.of(Captioned), case.of(Verified), case.of(Tracked)
    classes = {i.id: i.cls for i in captioned.instances}
    size = (tracked.height, tracked.width)
    frames = len(tracked.tracks[0].masks)
    anchors = {a.id: a for a in verified.anchors}
    shared = _same_class_iou(tracked.tracks, classes, size)
    numbers = {t.id: measure(t, anchors[t.id], size, _worst(shared, t.id)) for t in tracked.tracks}

    dropped = {i: fault for i, n in numbers.items() if (fault := _fault(n, frames, settings)) is not None}
    for pair, iou in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        if iou > settings.max_same_class_iou and not dropped.keys() & set(pair):
            better, worse = sorted(pair, key=lambda i: (-_quality(numbers[i]), -anchors[i].score, _natural(i)))
            dropped[worse] = Dropped(what=worse, reason="same_as_other", detail=f"IoU {iou:.2f} with {better}")

    texts = set(verified.interactions)
    acts = [a for a in captioned.interactions if a.text in texts]
    alive = [i for i in numbers if i not in dropped]
    kept = _involved(acts, alive, settings.max_ids)
    for i in alive:
        if i not in kept:
            reason = "too_many_ids" if _partners(i, acts, alive) else "no_interaction"
            dropped[i] = Dropped(what=i, reason=reason)
    held = tuple(a for a in acts if {a.subject, a.object} <= kept)
    gone = [
        Dropped(
            what=a.text, reason="lost_instance", detail=", ".join(i for i in (a.subject, a.object) if i not in kept)
        )
        for a in acts
        if a not in held
    ]
    if not held:
        raise Reject(Reason.BAD_TRACKS, _explain(dropped, numbers))
    return Curated(
        ids=tuple(i for i in numbers if i in kept),
        interactions=tuple(a.text for a in held),
        numbers=tuple(numbers.values()),
        dropped=(*(dropped[i] for i in numbers if i in dropped), *gone),
    )


# ---- numbers


def measure(track: Track, anchor: Anchor, size: tuple[int, int], same_class_iou: float) -> TrackNumbers:
    """The numbers of one track on frames of `size` (height, width). A track without masks has the worst of each."""
    height, width = size
    visible = np.array([m is not None for m in track.masks])
    if not visible.any():
        return TrackNumbers(
            id=track.id, visible_share=0, longest_gap=0, area_jump=0, fragments=1, anchor_iou=0, side=0,
            same_class_iou=0, growth=0, area_step=0, leap=0, likeness=0, least_likeness=0,
        )  # fmt: skip
    seen = np.flatnonzero(visible)
    rles = [{"size": [height, width], "counts": track.masks[t]} for t in seen]
    areas = np.asarray(coco.area(rles), dtype=np.float64)
    boxes = np.asarray(coco.toBbox(rles), dtype=np.float64)
    at_anchor = int(np.argmin(np.abs(seen - anchor.frame)))
    base = areas[at_anchor]
    pairs = _whole_pairs(seen, areas, boxes, base, size)
    # Where the stage before left no likeness on record, nothing speaks against the track.
    likeness = np.array([v for v in track.likeness if v is not None] or [1.0])
    return TrackNumbers(
        id=track.id,
        visible_share=float(visible.mean()),
        longest_gap=int(max(np.diff(seen) - 1, default=0)),
        area_jump=float(np.abs(np.diff(np.log2(areas)))[pairs].max(initial=0.0)),
        fragments=_fragments(track, seen, boxes, size),
        anchor_iou=_anchor_iou(boxes[at_anchor], anchor) if seen[at_anchor] == anchor.frame else 0.0,
        side=float(np.median(np.sqrt(areas)) / min(size)),
        same_class_iou=same_class_iou,
        growth=max(0.0, float(np.log2(_running_median(areas).max() / base))),
        area_step=max((_lasting(np.log2(areas), i) for i in np.flatnonzero(pairs).tolist()), default=0.0),
        leap=_leap(seen, areas, boxes),
        likeness=float(_running_median(likeness).min()),
        least_likeness=float(likeness.min()),
    )


def _whole_pairs(
    seen: NDArray[np.int64], areas: NDArray[np.float64], boxes: NDArray[np.float64], base: float, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Per visible frame but the last: it and the next follow on each other, and both show the thing whole.

    Whole is a mask that the image border does not cut and that is not much smaller than at the anchor.
    """
    height, width = size
    x, y, w, h = boxes.T
    inside = (x > 0) & (y > 0) & (x + w < width) & (y + h < height)
    whole = inside & (areas >= MIN_GROWTH_BASE * base)
    pairs: NDArray[np.bool_] = (np.diff(seen) == 1) & whole[1:] & whole[:-1]
    return pairs


def _lasting(logs: NDArray[np.float64], i: int) -> float:
    """How much of the change of log2(area) from visible frame i to the next stays; 0 near the ends of the track."""
    before, after = logs[max(0, i + 1 - LASTING) : i + 1], logs[i + 1 : i + 1 + LASTING]
    if min(len(before), len(after)) < 3:
        return 0.0
    once, stays = logs[i + 1] - logs[i], np.median(after) - np.median(before)
    return float(min(abs(once), abs(stays))) if once * stays > 0 else 0.0


def _leap(seen: NDArray[np.int64], areas: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """Widest gap between the boxes of two successive masks, per frame from one to the other, in sides of the thing.

    No more than the velocity differs there from the one just before and from the one just after: what flies fast leaps
    at every frame, a mask that goes over to another thing does once, or there and back.
    """
    frames = np.diff(seen)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    gaps = np.linalg.norm(np.maximum(low[1:] - high[:-1], low[:-1] - high[1:]).clip(0), axis=1) / frames
    velocities = np.diff((low + high) / 2, axis=0) / frames[:, None]
    changes = np.linalg.norm(np.diff(velocities, axis=0), axis=1)
    if changes.size:
        gaps[1:], gaps[:-1] = np.minimum(gaps[1:], changes), np.minimum(gaps[:-1], changes)
    return float(gaps.max(initial=0.0) / np.sqrt(np.median(areas)))


def _fragments(track: Track, seen: NDArray[np.int64], boxes: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Median share of the mask outside its biggest 8-connected part, over at most `SAMPLED` visible frames."""
    shares = []
    for k in np.unique(np.linspace(0, len(seen) - 1, SAMPLED).round().astype(int)):
        x, y, w, h = boxes[k].astype(int)
        part = decode_mask(track.masks[seen[k]], *size)[y : y + h, x : x + w].astype(np.uint8)
        areas = cv2.connectedComponentsWithStats(part, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
        shares.append(1 - areas.max() / areas.sum())
    return float(np.median(shares))


def _anchor_iou(box: NDArray[np.float64], anchor: Anchor) -> float:
    """IoU of a mask's `xywh` box with the anchor box."""
    b = anchor.box
    return float(coco.iou([box.tolist()], [[b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0]], [0])[0, 0])


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of `SUSTAINED` neighbours; of all values where there are fewer."""
    window = min(SUSTAINED, len(values))
    medians: NDArray[np.float64] = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    return medians


def _same_class_iou(
    tracks: Sequence[Track], classes: Mapping[str, str], size: tuple[int, int]
) -> dict[tuple[str, str], float]:
    """Mean IoU of each pair of tracks of one class, over the frames in which the rarer one shows."""
    result = {}
    for a, b in combinations(tracks, 2):
        fewest = min(sum(m is not None for m in t.masks) for t in (a, b))
        if classes[a.id] != classes[b.id] or fewest == 0:
            continue
        total = 0.0
        for ours, theirs in zip(a.masks, b.masks, strict=True):
            if ours is not None and theirs is not None:
                one, other = ({"size": list(size), "counts": m.encode("ascii")} for m in (ours, theirs))
                total += float(coco.iou([one], [other], [0])[0, 0])
        result[a.id, b.id] = min(1.0, total / fewest)
    return result


def _worst(shared: Mapping[tuple[str, str], float], who: str) -> float:
    return max((iou for pair, iou in shared.items() if who in pair), default=0.0)


# ---- decisions


def _fault(n: TrackNumbers, frames: int, s: CurateSettings) -> Dropped | None:
    """The first check that the track fails, or None."""
    checks = (
        ("no_mask", n.visible_share == 0, "empty in every frame"),
        ("missing_frames", n.visible_share < s.min_visible_share, f"seen in {n.visible_share:.2f} of the frames"),
        ("long_gap", n.longest_gap > s.max_gap_share * frames, f"a gap of {n.longest_gap} of {frames} frames"),
        ("tiny", n.side < s.min_side, f"median side {n.side:.3f}"),
        ("off_anchor", n.anchor_iou < s.min_anchor_iou, f"IoU {n.anchor_iou:.2f} with the anchor"),
        ("area_jump", n.area_jump > s.max_area_jump, f"area changes by 2^{n.area_jump:.1f} in one frame"),
        ("area_step", n.area_step > s.max_area_step, f"area changes by 2^{n.area_step:.1f} at once and stays so"),
        ("leap", n.leap > s.max_leap, f"leaps {n.leap:.1f} times its own side in one frame"),
        ("growth", n.growth > s.max_growth, f"area grows by 2^{n.growth:.1f} since the anchor"),
        ("fragmented", n.fragments > s.max_fragments, f"{n.fragments:.2f} of the mask outside its biggest part"),
        ("unlike_anchor", n.likeness < s.min_likeness, f"colour likeness falls to {n.likeness:.2f}"),
        (
            "unlike_once",
            n.least_likeness < s.min_least_likeness,
            f"colour likeness of {n.least_likeness:.2f} in a frame",
        ),
    )
    return next((Dropped(what=n.id, reason=name, detail=detail) for name, bad, detail in checks if bad), None)


def _quality(n: TrackNumbers) -> float:
    """To tell the worse of two tracks that cover one thing: the one that has left its anchor."""
    return n.anchor_iou * n.likeness * n.visible_share


def _involved(acts: Sequence[Interaction], alive: Sequence[str], limit: int) -> set[str]:
    """At most `limit` of the living IDs, each with a living partner. While there are too many the least involved goes.

    Of equals the one whose interactions rate lower (contact + dynamism), then the higher number.
    """
    kept = {i for i in alive if _partners(i, acts, alive)}
    while len(kept) > limit:
        count, rating = Counter[str](), Counter[str]()
        for act in acts:
            if {act.subject, act.object} <= kept:
                for i in (act.subject, act.object):
                    count[i] += 1
                    rating[i] += act.rating.contact + act.rating.dynamism
        kept.remove(min(kept, key=lambda i: (count[i], rating[i], -_natural(i))))
        kept = {i for i in kept if _partners(i, acts, kept)}
    return kept


def _partners(who: str, acts: Sequence[Interaction], alive: Sequence[str] | set[str]) -> set[str]:
    pairs = ({a.subject, a.object} for a in acts)
    return {i for pair in pairs if who in pair and pair <= set(alive) for i in pair} - {who}


def _natural(who: str) -> int:
    """id2 before id10."""
    return int(who[2:])


def _explain(dropped: Mapping[str, Dropped], numbers: Mapping[str, TrackNumbers]) -> str:
    lines = []
    for i, n in numbers.items():
        fault = dropped.get(i)
        word = f"{fault.reason}{f' ({fault.detail})' if fault.detail else ''}" if fault else "fine"
        shown = " ".join(f"{k}={round(v, 3)}" for k, v in n.model_dump().items() if k != "id")
        lines.append(f"{i} {word}: {shown}")
    return "; ".join(lines)


def _lines(curated: Curated) -> list[str]:
    return [
        f"{n.id}: visible {n.visible_share:.0%}, longest gap {n.longest_gap}, anchor IoU {n.anchor_iou:.2f}, "
        f"area jump {n.area_jump:.2f}, fragments {n.fragments:.2f}, side {n.side:.3f}, "
        f"likeness {n.likeness:.2f}, same-class IoU {n.same_class_iou:.2f}"
        for n in curated.numbers
    ]


SPEC = StageSpec(
    name="curate",
    version=4,
    settings=CurateSettings,
    record=Curated,
    needs=(Captioned, Verified, Tracked),
    batch=lambda work, keys: curate(work.cases(keys), work.settings),
    rejects={Reason.BAD_TRACKS: "no interaction kept a sound track for both its ends"},
    lines=_lines,
)
