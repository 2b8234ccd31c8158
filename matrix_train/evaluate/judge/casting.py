"""Who of two who interact is the agent, from tracks alone: the first of these rules that tells them apart decides.

bears      firm contact, and one stands lower than the other: whoever stands carries, lifts, holds, throws
passes     no firm contact, and a third one is near one of the two first and near the other later: it goes, or reaches,
           from the agent to the recipient; where it is near both from the first, whoever bears it acts with it
pursues    contact 1, and both move: the one behind, in the direction in which they move
first      firm contact that begins later: whoever goes farther before it; else whoever sets out first

Every rule has a margin, of what people at rest, a tracker and rounding differ by: a lead below it is none. Where no
rule tells the two apart, who acts is `Undecided`: never a yes to the pair that was asked for, nor a no.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import dist

from matrix_train.evaluate.seen.tracks import Tracks
from schemas.base import InstanceId

LOWER = 0.12
"""Of the height of the taller of two, by which one ends below the other: the other does not stand on the ground there.
(On 100 rendered videos of other seeds than those of the benchmark: at most .053 of two on the ground, at least .222 of
one who bears the other.)"""

NEAR = 0.05
"""Of the picture's width, as far as which a third reaches another whom it never touches."""

LATER_S = 0.25
"""Seconds between two who set out, or are reached, one after the other."""

SWAY = 0.02
"""Of the picture's width: how far who stands still moves all the same."""

SET_OUT = 0.03
"""Of the picture's width, from its first place: an instance has set out."""

PURSUIT = 1
"""Contactness of acts in which one goes after, along or around the other."""


UNDECIDED = "undecided: "
"""How the reason of such a video begins."""


class Undecided(ValueError):
    """Tracks do not tell, by the margins of the rules, who acts on whom."""

    def __init__(self, why: str) -> None:
        super().__init__(UNDECIDED + why)


def leads(tracks: Tracks, one: InstanceId, other: InstanceId, contact: int, touching: Sequence[int]) -> bool:
    """Whether `one` is the agent of the two, and not `other`. touching: the frames of contact, of an act that demands
    firm contact. Undecided."""
    for lead in (
        _bears(tracks, one, other, touching),
        passes(tracks, one, other) if not touching and contact > PURSUIT else 0.0,
        _pursues(tracks, one, other) if contact == PURSUIT else 0.0,
        _first(tracks, one, other, touching),
    ):
        if lead:
            return lead > 0
    raise Undecided(f"tracks do not tell who of {one} and {other} acts on the other")


def _bears(tracks: Tracks, one: InstanceId, other: InstanceId, touching: Sequence[int]) -> float:
    """Positive where `one` stands lower than `other` while they touch; 0 where both stand on the ground."""
    below = [
        (tracks.foot(one, frame) - tracks.foot(other, frame))
        / max(tracks.foot(key, frame) - tracks.head(key, frame) for key in (one, other))
        for frame in touching
    ]
    return _beyond(max(below, key=abs, default=0.0), LOWER)


def passes(tracks: Tracks, one: InstanceId, other: InstanceId) -> float:
    """Positive where a third instance is near `one` first and near `other` later, or is what `one` acts with; 0 where
    none leads from the one to the other."""
    frames = range(tracks.film.frames)

    def near(third: InstanceId, key: InstanceId) -> list[int]:
        return tracks.touching(third, key, frames) or [f for f in frames if tracks.gap(third, key, f) <= NEAR]

    for third in (i.id for i in tracks.film.instances if i.id not in (one, other)):
        a, b = near(third, one), near(third, other)
        if a and b and went(tracks, third) is not None:  # not one who stands by
            borne = [_bears(tracks, key, third, tracks.touching(key, third, frames)) > 0 for key in (one, other)]
            if lead := _beyond(b[0] - a[0], _later(tracks)) or float(borne[0] - borne[1]):
                return lead
    return 0.0


def _pursues(tracks: Tracks, one: InstanceId, other: InstanceId) -> float:
    """How far `one` comes behind, as a share of the picture's width, on the mean over the way of both; 0 where one of
    them stays where it is."""
    together = tracks.together(one, other, range(tracks.film.frames))
    if any(tracks.changed(key, together) is None for key in (one, other)):
        return 0.0
    behind = length = 0.0
    for now, then in pairwise(together):
        a, b, a_then, b_then = (tracks.place(key, frame) for frame in (now, then) for key in (one, other))
        if a and b and a_then and b_then:
            way = [(a_then[axis] - a[axis] + b_then[axis] - b[axis]) / 2 for axis in (0, 1)]
            behind += sum((b[axis] - a[axis]) * way[axis] for axis in (0, 1))
            length += dist((0, 0), way)
    return _beyond(behind / length, SWAY) if length else 0.0


def _first(tracks: Tracks, one: InstanceId, other: InstanceId, touching: Sequence[int]) -> float:
    """Positive where `one` goes farther before they touch, or, where no firm contact is to be waited for, sets out
    before `other`. Ways, not outlines: where the camera moves, the outline of a small thing changes most."""
    ways = [_way(tracks, key) for key in (one, other)]
    if touching and touching[0]:
        a, b = (max(way[: touching[0] + 1]) for way in ways)
        return _beyond(a - b, SWAY)
    a, b = (next((frame for frame, far in enumerate(way) if far >= SET_OUT), len(way)) for way in ways)
    return _beyond(b - a, _later(tracks))


def went(tracks: Tracks, key: InstanceId) -> int | None:
    """The frame in which an instance is farthest from its first place, where it has set out at all."""
    way = _way(tracks, key)
    far = max(range(len(way)), key=way.__getitem__)
    return far if way[far] >= SET_OUT else None


def _way(tracks: Tracks, key: InstanceId) -> list[float]:
    """By frame, how far an instance is from its first place, as a share of the picture's width; 0 where unseen. Who
    comes in later has gone as far as `SET_OUT` by then at least."""
    places = [tracks.place(key, frame) for frame in range(tracks.film.frames)]
    first = next((place for place in places if place), None)
    late = SET_OUT if places[0] is None else 0.0
    return [late + dist(first, place) if first and place else 0.0 for place in places]


def _later(tracks: Tracks) -> float:
    """`LATER_S` in frames, one at least."""
    return max(1.0, LATER_S * tracks.film.fps)


def _beyond(lead: float, margin: float) -> float:
    """The lead; 0 where it does not exceed its margin."""
    return lead if abs(lead) > margin else 0.0
