"""One clip under two settings: what its records say differently. Neither side is the truth.

IDs need not have the same numbers on both sides. They are paired one to one by the overlap of their tracks (where there
are none, of their anchors), those of the same class first. Triplets are the same where classes and bare verb are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from scipy.optimize import linear_sum_assignment

from schemas import Anchor, Captioned, Curated, Rating, Track, Tracked, Verified
from schemas.base import InstanceId
from schemas.review import Reviewed
from tasks.media.clips import decode_mask
from tasks.media.overlay import pick_frames
from tasks.outcome import Case
from tasks.report.stats import bare
from tasks.world.score.davis import j_and_f

LOOKED_AT = 13
"""Frames of a clip, evenly spaced, over which J&F is taken: every fourth of 49."""

LEAST = 0.1
"""Overlap below which two IDs are not the same thing."""

Triplet = tuple[str, str, str]
"""Class of the subject, bare verb, class of the object."""


@dataclass(frozen=True)
class TrackPair:
    """One thing as both sides saw it."""

    left: InstanceId
    right: InstanceId
    cls: str
    anchor_iou: float | None
    """None where the anchors stand in different frames, or a side has none."""
    iou: float
    """Mean over all frames of the tracks' IoU, those left out in which neither is visible."""
    j_and_f: float


@dataclass(frozen=True)
class Difference:
    """What both sides say of a clip that both captioned."""

    key: str
    same: tuple[Triplet, ...]
    only_left: tuple[Triplet, ...]
    only_right: tuple[Triplet, ...]
    shifts: tuple[tuple[int, int], ...]
    """Right minus left in contactness and dynamism, of each triplet of `same`."""
    tracks: tuple[TrackPair, ...]
    alone: tuple[tuple[str, InstanceId], ...]
    """("left" or "right", ID): tracks whose thing the other side has not."""

    @property
    def size(self) -> float:
        """0 where they agree, up to 2: the share of triplets that one side has alone, and of track agreement lost."""
        triplets = len(self.same) + len(self.only_left) + len(self.only_right)
        lost = [1 - pair.j_and_f for pair in self.tracks] + [1.0] * len(self.alone)
        apart = (triplets - len(self.same)) / triplets if triplets else 0.0
        return apart + (sum(lost) / len(lost) if lost else 0.0)


def differ(left: Case, right: Case) -> Difference:
    """Hold two cases of one clip against each other, as far as both have come."""
    ours, theirs = _triplets(left), _triplets(right)
    same = sorted(ours.keys() & theirs.keys())
    tracks, alone = _pair(left, right)
    return Difference(
        key=left.clip.clip_id,
        same=tuple(same),
        only_left=tuple(sorted(ours.keys() - theirs.keys())),
        only_right=tuple(sorted(theirs.keys() - ours.keys())),
        shifts=tuple((theirs[t].contact - ours[t].contact, theirs[t].dynamism - ours[t].dynamism) for t in same),
        tracks=tracks,
        alone=alone,
    )


def _triplets(case: Case) -> dict[Triplet, Rating]:
    """The interactions that came as far as the clip did."""
    captioned = case.get(Captioned)
    if captioned is None:
        return {}
    reviewed, last = case.get(Reviewed), case.get(Curated) or case.get(Verified)
    kept = None if last is None else set(last.interactions)
    said = reviewed.interactions if reviewed else captioned.interactions
    classes = {i.id: i.cls for i in captioned.instances}
    return {
        (classes[a.subject], bare(a.verb), classes[a.object]): a.rating
        for a in said
        if reviewed or kept is None or a.text in kept
    }


def _tracks(case: Case) -> list[Track]:
    """Those that came as far as the clip did, as people mended them."""
    tracked, last = case.get(Tracked), case.get(Reviewed) or case.get(Curated)
    mended = {t.id: t for t in last.tracks} if isinstance(last, Reviewed) else {}
    return [mended.get(t.id, t) for t in tracked.tracks if not last or t.id in last.ids] if tracked else []


def _pair(left: Case, right: Case) -> tuple[tuple[TrackPair, ...], tuple[tuple[str, InstanceId], ...]]:
    ours, theirs = _tracks(left), _tracks(right)
    size = left.clip.height, left.clip.width
    names = [
        {i.id: i.cls for i in case.of(Captioned).instances} if case.get(Captioned) else {} for case in (left, right)
    ]
    overlap = np.array([[mean_iou(a, b, size) for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
    kin = np.array([[names[0][a.id] == names[1][b.id] for b in theirs] for a in ours], dtype=bool).reshape(
        overlap.shape
    )
    rows, columns = linear_sum_assignment(overlap + 0.5 * (kin & (overlap >= LEAST)), maximize=True)
    paired = [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if overlap[i, j] >= LEAST]
    pairs = tuple(
        TrackPair(
            left=ours[i].id,
            right=theirs[j].id,
            cls=names[0][ours[i].id],
            anchor_iou=_anchor_iou(_anchor(left, ours[i].id), _anchor(right, theirs[j].id)),
            iou=float(overlap[i, j]),
            j_and_f=_agreement(ours[i], theirs[j], size),
        )
        for i, j in paired
    )
    alone = [("left", t.id) for i, t in enumerate(ours) if i not in {p[0] for p in paired}]
    alone += [("right", t.id) for j, t in enumerate(theirs) if j not in {p[1] for p in paired}]
    return pairs, tuple(alone)


def mean_iou(a: Track, b: Track, size: tuple[int, int]) -> float:
    """Mean IoU of two tracks over the frames in which either is visible, from their run lengths."""
    found = []
    for one, other in zip(a.masks, b.masks, strict=True):
        if one and other:
            masks = [[{"size": list(size), "counts": m.encode("ascii")}] for m in (one, other)]
            found.append(float(rle.iou(*masks, [0])[0, 0]))
        elif one or other:
            found.append(0.0)
    return sum(found) / len(found) if found else 0.0


def _agreement(a: Track, b: Track, size: tuple[int, int]) -> float:
    frames: Sequence[int] = pick_frames(len(a.masks), min(LOOKED_AT, len(a.masks)))
    masks: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = [
        (decode_mask(a.masks[t], *size), decode_mask(b.masks[t], *size)) for t in frames
    ]
    return sum(j_and_f(one, other) for one, other in masks) / len(masks)


def _anchor(case: Case, name: InstanceId) -> Anchor | None:
    verified = case.get(Verified)
    return next((a for a in verified.anchors if a.id == name), None) if verified else None


def _anchor_iou(a: Anchor | None, b: Anchor | None) -> float | None:
    if a is None or b is None or a.frame != b.frame:
        return None
    return a.box.iou(b.box)
