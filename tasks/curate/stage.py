"""Stage `curate`: the automatic form of the paper's checks on tracks (App. A.2), from the masks alone, no frames.

Every track is measured; the numbers go on record. A track that fails a check is dropped with the check's name; of two
tracks of one class that cover the same thing the worse goes; an interaction lives as long as its subject and object do.
Being hidden or out of view is no fault: gaps, entries, exits and half-hidden masks are measured apart from drift.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from schemas import (
    Captioned,
    Curated,
    Dropped,
    Interaction,
    Reason,
    Row,
    Tracked,
    TrackNumbers,
    Verified,
)
from schemas.settings import Settings
from tasks.curate.numbers import measure, overlaps_within_classes, quality, worst_overlap
from tasks.errors import Reject
from tasks.outcome import Case, settle_each
from tasks.spec import StageSpec


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
    shared = overlaps_within_classes(tracked.tracks, classes, size)
    numbers = {t.id: measure(t, anchors[t.id], size, worst_overlap(shared, t.id)) for t in tracked.tracks}

    dropped = {i: fault for i, n in numbers.items() if (fault := _fault(n, frames, settings)) is not None}
    for pair, iou in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        if iou > settings.max_same_class_iou and not dropped.keys() & set(pair):
            better, worse = sorted(pair, key=lambda i: (-quality(numbers[i]), -anchors[i].score, _natural(i)))
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
    return [f"{n.id}: {', '.join(n.words())}" for n in curated.numbers]


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
