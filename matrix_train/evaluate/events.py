"""Events from tracks alone: whether an act of certain ratings happens between two, when, and who does it to whom.

What an act is called cannot be seen in tracks. What its ratings demand can: contact, and a change of place or pose. So
of all pairs that could be meant (those asked for, and others of their classes) the one is taken that shows it, the
pair asked for before others. Who is the agent is decided by the first of these rules that tells the two apart:

bears      firm contact, and one stands lower than the other by `LOWER`: whoever stands carries, lifts, holds, throws
carries    no firm contact, and a third one touches one of the two first and the other later: it goes, or reaches, from
           the agent to the recipient
pursues    contact 1, and both move: the one behind, in the direction in which they move
first      firm contact that begins later: whoever goes farther before it; else whoever sets out first

Where none does, who acts cannot be told: that is an error of the video, never a yes to the pair asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import dist

from matrix_train.evaluate.judge_truth import LIVELY, must_touch
from matrix_train.evaluate.protocol import KeyInteraction
from matrix_train.evaluate.tracks import Tracks
from schemas.base import InstanceId

LOWER = 0.12
"""Of the picture's height, by which one mask ends below the other: the other does not stand on the ground there."""

SET_OUT = 0.03
"""Of the picture's width, from its first place: an instance has set out."""

PURSUIT = 1
"""Contactness of acts in which one goes after, along or around the other."""


@dataclass(frozen=True)
class Act:
    """What happens between two."""

    subject: InstanceId
    object: InstanceId
    contact: int
    dynamism: int
    start_frame: int
    end_frame: int
    """Exclusive."""


def act_seen(tracks: Tracks, asked: KeyInteraction) -> Act | None:
    """The act of the ratings asked for; None where no pair shows one. ValueError where the ratings are not known, and
    where agent and recipient cannot be told apart."""
    if asked.contact is None or asked.dynamism is None:
        raise ValueError(
            f"{asked.text} has no contact and dynamism in its prompt: rate it from 1 to 5 (paper App. A.1)"
        )
    shown = [act for one, other in _pairs(tracks, asked) if (act := _between(tracks, asked, one, other)) is not None]
    # `max` takes the first of equals, and the pair asked for is the first of all.
    pair = max(shown, key=lambda act: _touch(tracks, act), default=None)
    return None if pair is None else _cast(tracks, pair)


def _pairs(tracks: Tracks, asked: KeyInteraction) -> list[tuple[InstanceId, InstanceId]]:
    classes = {i.id: i.cls for i in tracks.film.instances}

    def alike(key: InstanceId) -> list[InstanceId]:
        return [key, *(other for other, cls in classes.items() if cls == classes[key] and other != key)]

    pairs = product(alike(asked.subject), alike(asked.object))
    return [(a, b) for a, b in pairs if a != b]


def _touch(tracks: Tracks, act: Act) -> bool:
    """Whether the pair has the contact that the act demands: one that has it comes before one that has not."""
    frames = range(tracks.film.frames)
    return not must_touch(act) or bool(tracks.touching(act.subject, act.object, frames))


def _between(tracks: Tracks, asked: KeyInteraction, one: InstanceId, other: InstanceId) -> Act | None:
    """What happens between these two, `one` for the agent as yet; None where they only are there."""
    assert asked.contact is not None
    assert asked.dynamism is not None
    frames = range(tracks.film.frames)
    act = Act(one, other, asked.contact, asked.dynamism, 0, len(frames))
    firm = must_touch(act)
    near = tracks.touching(one, other, frames) if firm else tracks.together(one, other, frames)
    moved = [key for key in (one, other) if tracks.changed(key, frames) is not None]
    if not moved and (asked.dynamism >= LIVELY or not near):
        return None
    if not near and not tracks.together(one, other, frames):
        return None
    start, end = (near[0], near[-1] + 1) if firm and near else (0, len(frames))
    return Act(one, other, asked.contact, asked.dynamism, start, end)


def _cast(tracks: Tracks, act: Act) -> Act:
    """The act with its agent and recipient, by the rules at the head. ValueError where none tells them apart."""
    one, other, contact = act.subject, act.object, act.contact
    touching = tracks.touching(one, other, range(tracks.film.frames)) if must_touch(act) else []
    for lead in (
        _bears(tracks, one, other, touching),
        _carries(tracks, one, other) if not touching and contact > PURSUIT else 0.0,
        _pursues(tracks, one, other) if contact == PURSUIT else 0.0,
        _first(tracks, one, other, touching),
    ):
        if lead:
            return act if lead > 0 else replace(act, subject=other, object=one)
    raise ValueError(f"cannot be judged from tracks: nothing tells who of {one} and {other} acts on the other")


def _bears(tracks: Tracks, one: InstanceId, other: InstanceId, touching: Sequence[int]) -> float:
    """Positive where `one` stands lower than `other` while they touch; 0 where both stand on the ground."""
    below = [tracks.foot(one, frame) - tracks.foot(other, frame) for frame in touching]
    most = max(below, key=abs, default=0.0)
    return most if abs(most) >= LOWER else 0.0


def _carries(tracks: Tracks, one: InstanceId, other: InstanceId) -> float:
    """Positive where a third instance touches `one` first and `other` later."""
    frames = range(tracks.film.frames)
    for third in (i.id for i in tracks.film.instances if i.id not in (one, other)):
        a, b = (tracks.touching(third, key, frames) for key in (one, other))
        if a and b and a[0] != b[0]:
            return float(b[0] - a[0])
    return 0.0


def _pursues(tracks: Tracks, one: InstanceId, other: InstanceId) -> float:
    """Positive where `one` comes behind, summed over the way of both; 0 where one of them stays where it is."""
    behind = 0.0
    together = tracks.together(one, other, range(tracks.film.frames))
    if any(tracks.changed(key, together) is None for key in (one, other)):
        return 0.0
    for now, then in pairwise(together):
        a, b, a_then, b_then = (tracks.place(key, frame) for frame in (now, then) for key in (one, other))
        if a and b and a_then and b_then:
            for axis in (0, 1):
                way = (a_then[axis] - a[axis] + b_then[axis] - b[axis]) / 2
                behind += (b[axis] - a[axis]) * way
    return behind


def _first(tracks: Tracks, one: InstanceId, other: InstanceId, touching: Sequence[int]) -> float:
    """Positive where `one` goes farther before they touch, or, where no firm contact is to be waited for, sets out
    before `other`. Ways, not outlines: where the camera moves, the outline of a small thing changes most."""
    ways = [_way(tracks, key) for key in (one, other)]
    if touching and touching[0]:
        a, b = (max(way[: touching[0] + 1]) for way in ways)
        return a - b
    a, b = (next((frame for frame, far in enumerate(way) if far >= SET_OUT), len(way)) for way in ways)
    return b - a or max(ways[0]) - max(ways[1])


def _way(tracks: Tracks, key: InstanceId) -> list[float]:
    """By frame, how far an instance is from its first place, as a share of the picture's width; 0 where unseen. Who
    comes in later has gone as far as `SET_OUT` by then at least."""
    places = [tracks.place(key, frame) for frame in range(tracks.film.frames)]
    first = next((place for place in places if place), None)
    late = SET_OUT if places[0] is None else 0.0
    return [late + dist(first, place) if first and place else 0.0 for place in places]
