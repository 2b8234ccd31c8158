"""`matrix_data score`: a build over rendered videos held against their truth. docs/score.md explains every figure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from schemas import Captioned, Clip, Curated, Record, Track, Tracked, Verified
from schemas.base import Count, Share
from schemas.truth import TrueInstance, TrueTriplet, VideoTruth
from tasks.media.clips import decode_mask
from tasks.outcome import Case
from tasks.world.score.davis import boundary_f, region_iou
from tasks.world.score.pairing import Paired, pair
from tasks.world.score.truth_masks import TrueMasks, bounding_box

MIN_CONTACT, MIN_DYNAMISM = 3, 2
"""The caption filter's default thresholds. A true triplet below them need not be found; finding it is no mistake."""

SAME = 0.5
"""IoU from which a box or mask is that of an instance."""

BY_CONTENT = frozenset({"no_interaction", "filtered", "bad_reply", "ungrounded", "lost", "bad_tracks"})
"""Rejections for what a video shows or says, not for the file's state. `accepted_share` counts these."""


class Score(Record):
    """All shares and means lie in [0, 1]; one over nothing is 0."""

    triplet_precision: Share
    triplet_recall: Share
    triplet_f1: Share
    anchors_right: Share
    mean_j: Share = Field(description="region IoU of accepted tracks, DAVIS")
    mean_f: Share = Field(description="boundary F of accepted tracks, DAVIS")
    mean_jf: Share
    id_switches: Count
    accepted_share: Share = Field(description="of good videos, those whose first window was accepted")
    reasons_right: Share = Field(description="of the files given with `reasons`, those that ended as they should")
    videos: Count
    good_videos: Count
    clips: Count
    captioned: Count
    triplets_true: Count
    triplets_predicted: Count
    triplets_right: Count
    anchors: Count
    tracks: Count
    files_checked: Count
    mismatches: tuple[str, ...] = Field(description="files that ended otherwise than they should, a line each")
    problems: tuple[str, ...] = Field(
        description="every wrong triplet, anchor and track and every lost video, a line each"
    )

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"triplets   F1 {self.triplet_f1:.3f}  precision {self.triplet_precision:.3f}  recall "
            f"{self.triplet_recall:.3f}  ({self.triplets_right} right, {self.triplets_predicted} stated, "
            f"{self.triplets_true} true)",
            f"anchors    {self.anchors_right:.3f} right of {self.anchors}",
            f"tracks     J&F {self.mean_jf:.3f}  J {self.mean_j:.3f}  F {self.mean_f:.3f}  over {self.tracks}, "
            f"{self.id_switches} ID switches",
            f"accepted   {self.accepted_share:.3f} of {self.good_videos} good videos ({self.clips} clips)",
            f"reasons    {self.reasons_right:.3f} right of {self.files_checked} files",
            *(f"  {line}" for line in self.mismatches),
        ]


def score(cases: Iterable[Case], truths: Iterable[VideoTruth], reasons: Mapping[str, str] | None = None) -> Score:
    """Score clips, with whatever stages they reached, against the truth of their videos.

    `reasons` says how each file ended: 'accept' or a reason code, by the file's name below the bucket's root. Clips of
    unknown videos are left out. Cases are taken one at a time.
    """
    book = _Book(list(truths))
    for case in cases:
        book.take(case)
    return book.close(reasons or {})


@dataclass
class _Video:
    """What is known so far of one video."""

    truth: VideoTruth
    first: tuple[int, int] | None = None
    """(scene, index) of its earliest clip."""
    accepted: bool = False
    captioned: Captioned | None = None


@dataclass
class _Book:
    """Running sums."""

    truths: list[VideoTruth]
    clips: int = 0
    captioned: int = 0
    anchors: list[bool] = field(default_factory=list)
    tracks: list[tuple[float, float]] = field(default_factory=list)
    switches: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.videos = {t.video: _Video(t) for t in self.truths}
        self.by_base: dict[str, list[str]] = defaultdict(list)
        for t in self.truths:
            self.by_base[t.video.rsplit("/", 1)[-1]].append(t.video)

    def video_of(self, clip: Clip) -> _Video | None:
        """The clip's video: by any name of its content, a good one before the names it is doubled under."""
        found = [
            self.videos[name]
            for uri in clip.source.uris
            for name in self.by_base.get(uri.rsplit("/", 1)[-1], [])
            if uri == name or uri.endswith(f"/{name}")
        ]
        return min(found, key=lambda v: "duplicate" in v.truth.expect, default=None)

    def take(self, case: Case) -> None:
        video = self.video_of(case.clip)
        if video is None:
            return
        self.clips += 1
        window = (case.clip.window.scene, case.clip.window.index)
        if video.first is None or window < video.first:
            video.first, video.accepted = window, case.get(Curated) is not None
        captioned = case.get(Captioned)
        if captioned is None:
            return
        self.captioned += 1
        video.captioned = video.captioned or captioned
        name = f"{video.truth.video} {case.clip.clip_id}"
        paired = pair(captioned, video.truth)
        true = {i.id: i for i in video.truth.instances}
        mine = {ours: true[theirs] for ours, theirs in paired.instances.items()}
        masks = TrueMasks(video.truth, case.clip)
        if verified := case.get(Verified):
            for anchor in verified.anchors:
                seen = bounding_box(masks.at(mine[anchor.id], anchor.frame)) if anchor.id in mine else None
                iou = anchor.box.iou(seen) if seen else 0.0
                self.anchors.append(iou >= SAME)
                if iou < SAME:
                    self.problems.append(f"{name}: anchor of {anchor.id} at frame {anchor.frame}: IoU {iou:.2f}")
        curated, tracked = case.get(Curated), case.get(Tracked)
        if curated and tracked:
            for track in tracked.tracks:
                if track.id in curated.ids:
                    self.follow(name, track, mine.get(track.id), masks)

    def follow(self, name: str, track: Track, mine: TrueInstance | None, masks: TrueMasks) -> None:
        """J and F of a track as means over all its frames, and the changes of the instance that it lies on."""
        clip = masks.clip
        js, fs, on = [], [], None
        switches = 0
        for t, rle in enumerate(track.masks):
            pred = decode_mask(rle, clip.height, clip.width)
            true = masks.at(mine, t) if mine else None
            js.append(region_iou(pred, true) if true is not None else 0.0)
            fs.append(boundary_f(pred, true) if true is not None else 0.0)
            if rle is None:
                continue
            # True masks are disjoint, so a mask has an IoU above one half with one instance at most.
            now = mine if mine and js[-1] >= SAME else _lies_on(pred, t, masks)
            if now and on and now.id != on.id:
                switches += 1
            on = now or on
        self.tracks.append((float(np.mean(js)), float(np.mean(fs))))
        self.switches += switches
        both = sum(self.tracks[-1]) / 2
        if switches or both < 0.8:
            self.problems.append(f"{name}: track {track.id}: J&F {both:.2f}, {switches} ID switches")

    def close(self, reasons: Mapping[str, str]) -> Score:
        good = [v for v in self.videos.values() if v.truth.expect == "accept"]
        predicted, right, wanted = 0, 0, 0
        for video in self.videos.values():
            if video.captioned is None and video.truth.expect != "accept":
                continue
            counts = self.triplets(video)
            predicted, right, wanted = predicted + counts[0], right + counts[1], wanted + counts[2]
        for video in good:
            if not video.accepted:
                self.problems.append(
                    f"{video.truth.video}: good, but not accepted ({reasons.get(video.truth.video, '?')})"
                )
        mismatches = self.mismatches(reasons)
        precision, recall = _share(right, predicted), _share(right, wanted)
        j, f = (
            (_share(sum(column), len(self.tracks)) for column in zip(*self.tracks, strict=True))
            if self.tracks
            else (0.0, 0.0)
        )
        checked = len(self.truths) if reasons else 0
        return Score(
            triplet_precision=precision,
            triplet_recall=recall,
            triplet_f1=_share(2 * precision * recall, precision + recall),
            anchors_right=_share(sum(self.anchors), len(self.anchors)),
            mean_j=j,
            mean_f=f,
            mean_jf=(j + f) / 2,
            id_switches=self.switches,
            accepted_share=_share(sum(v.accepted for v in good), len(good)),
            reasons_right=_share(checked - len(mismatches), checked),
            videos=len(self.truths),
            good_videos=len(good),
            clips=self.clips,
            captioned=self.captioned,
            triplets_true=wanted,
            triplets_predicted=predicted,
            triplets_right=right,
            anchors=len(self.anchors),
            tracks=len(self.tracks),
            files_checked=checked,
            mismatches=tuple(mismatches),
            problems=tuple(self.problems),
        )

    def triplets(self, video: _Video) -> tuple[int, int, int]:
        """Predicted, right and true triplets of a video; those below the thresholds are in none of the three."""
        name = video.truth.video
        paired = pair(video.captioned, video.truth) if video.captioned else Paired({}, (), video.truth.triplets)
        for true in filter(_counts, paired.missed):
            self.problems.append(f"{name}: missed <{true.subject}> {true.verb} <{true.object}> of the truth")
        for act, found in paired.triplets:
            if found is None:
                self.problems.append(f"{name}: {act.text} is not in the truth")
        stated = [found for _, found in paired.triplets if found is None or _counts(found)]
        right = sum(found is not None for found in stated)
        return len(stated), right, right + sum(map(_counts, paired.missed))

    def mismatches(self, reasons: Mapping[str, str]) -> list[str]:
        """Files that ended otherwise than they should. A good file may end for what it shows, not for its state."""
        if not reasons:
            return []
        lines = []
        for truth in self.truths:
            got = reasons.get(truth.video, "nothing")
            if got != truth.expect and not (truth.expect == "accept" and got in BY_CONTENT):
                lines.append(f"{truth.video}: expected {truth.expect}, got {got}")
        return lines


def _counts(true: TrueTriplet) -> bool:
    return true.contact >= MIN_CONTACT and true.dynamism >= MIN_DYNAMISM


def _lies_on(pred: np.ndarray, frame: int, masks: TrueMasks) -> TrueInstance | None:
    """The true instance that a mask has an IoU of at least one half with."""
    return next((i for i in masks.truth.instances if region_iou(pred, masks.at(i, frame)) >= SAME), None)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
