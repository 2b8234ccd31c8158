"""Events from tracks alone: whether an act of certain ratings happens between two, when, and who does it to whom.

What an act is called cannot be seen in tracks. What its ratings demand can: contact, and a change of place or pose. So
of all pairs that could be meant (those asked for, and others of their classes) the one is taken that shows it, the
pair asked for before others. Who is the agent is decided by the first of these rules that tells the two apart:

bears      firm contact, and one stands lower than the other by `LOWER`: whoever stands carries, lifts, holds, throws
carries    no firm contact, and a third one touches one of the two first and the other later: it goes, or reaches, from
           the agent to the recipient
pursues    contact 1, and both move: the one behind, in the direction in which they move
first      whoever moves first, before they touch; of two that begin together, whoever has moved farther by then
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from matrix_train.evaluate.judge_truth import LIVELY, must_touch
from matrix_train.evaluate.protocol import KeyInteraction
from matrix_train.evaluate.tracks import CHANGED, Tracks
from schemas.base import InstanceId

LOWER = 0.12
"""Of the picture's height, by which the lower end of one mask lies below the other's: the other does not stand there."""

STIRS = CHANGED / 2
"""1 − IoU with its first mask from which on an instance has begun to move."""

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
    """The act of the ratings asked for; None where no pair shows one. ValueError where the ratings are not known."""
    if asked.contact is None or asked.dynamism is None:
        raise ValueError(f"{asked.text} has no contact and dynamism in its prompt: rate it from 1 to 5 (paper App. A.1)")
    shown = [act for one, other in _pairs(tracks, asked) if (act := _between(tracks, asked, one, other)) is not None]
    # `max` takes the first of equals, and the pair asked for is the first of all.
    return max(shown, key=lambda act: _touch(tracks, act), default=None)


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
    """What happens between these two, whoever takes which part; None where they only are there."""
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
    first = near[0] if near else frames[-1]
    agent, recipient = _roles(tracks, one, other, near if firm else [], first if firm else frames[-1], asked.contact)
    if firm and near:
        start, end = _stretch(near)
    else:
        onsets = [begun for key in (one, other) if (begun := _onset(tracks, key)) is not None]
        start, end = min(onsets, default=0), len(frames)
    return Act(agent, recipient, asked.contact, asked.dynamism, start, end)


def _stretch(near: Sequence[int]) -> tuple[int, int]:
    """From the first contact to the last."""
    return near[0], near[-1] + 1


def _roles(
    tracks: Tracks, one: InstanceId, other: InstanceId, touching: Sequence[int], until: int, contact: int
) -> tuple[InstanceId, InstanceId]:
    """(agent, recipient), by the rules at the head. until: the frame before which they act each of itself."""
    for lead in (
        _bears(tracks, one, other, touching),
        _carries(tracks, one, other) if not touching and contact > PURSUIT else 0.0,
        _pursues(tracks, one, other) if contact == PURSUIT else 0.0,
        _first(tracks, one, other, until),
    ):
        if lead:
            return (one, other) if lead > 0 else (other, one)
    return one, other


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
    for now, then in zip(together, together[1:], strict=False):
        a, b, a_then, b_then = (tracks.place(key, frame) for frame in (now, then) for key in (one, other))
        if a and b and a_then and b_then:
            for axis in (0, 1):
                way = (a_then[axis] - a[axis] + b_then[axis] - b[axis]) / 2
                behind += (b[axis] - a[axis]) * way
    return behind


def _first(tracks: Tracks, one: InstanceId, other: InstanceId, until: int) -> float:
    """Positive where `one` moves first before the frame `until`, or, where both begin together, farther."""
    begun = [_onset(tracks, key) for key in (one, other)]
    a, b = (tracks.film.frames if frame is None or frame > until else frame for frame in begun)
    return float(b - a) or _far(tracks, one, until) - _far(tracks, other, until)


def _onset(tracks: Tracks, key: InstanceId) -> int | None:
    """The frame in which an instance has begun to move: it comes in, or is no longer as it was."""
    seen = [frame for frame in range(tracks.film.frames) if tracks.seen(key, frame)]
    if seen and seen[0]:
        return seen[0]
    return next((frame for frame in seen if tracks.change(key, seen[0], frame) >= STIRS), None)


def _far(tracks: Tracks, key: InstanceId, until: int) -> float:
    seen = [frame for frame in range(until + 1) if tracks.seen(key, frame)]
    return max((tracks.change(key, seen[0], frame) for frame in seen), default=0.0)
