"""Motions with a thing in the hands or the mouth: lift, carry, hold, drop, put."""

import random

from tasks.world.motions.blocking import Beats, Cue, Lane, begin, place, walk
from tasks.world.theatre import CHEST, LOW, REST, UP, Point, Theatre, fall, line


def lift(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random) -> Beats:
    touch, up = t0 + 0.4 * (t1 - t0), t0 + 0.85 * (t1 - t0)
    _approach(theatre, cue, lane, t0, touch, 0.55)
    _take(theatre, cue, touch, rng.choice((CHEST, UP)), up)
    return {"verb": (touch, up)}


def carry(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    before = theatre.holder(cue.object, t0) == cue.subject if theatre.puppets[cue.object].holds else False
    begin(theatre, cue.subject, lane, 0.0)
    held(theatre, cue, t0)
    here = theatre.position(cue.subject, t0)[0]
    x = lane.x(0.86) if abs(lane.x(0.86) - here) > 0.3 else lane.x(0.14)
    walk(theatre, cue.subject, t0, t1, x, lane.y, even=True)
    return {"verb": (t0 if before or lane.enters else 0.0, t1)}


def hold(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.subject, lane.x(0.4), lane.y)
    s.faces.append((0.0, lane.d))
    held(theatre, cue, t0)
    base = s.hands[-1][1]
    for i in range(1, 9):
        s.hands.append((t0 + 0.3 + i * (t1 - t0) / 9, (base[0], base[1] + (0.03 if i % 2 else -0.03))))
    x = theatre.position(cue.subject, t0)[0]
    for i in range(4):
        a, b = t0 + i * (t1 - t0) / 4, t0 + (i + 1) * (t1 - t0) / 4
        s.go(a, b, line(a, b, (x + (0.02 if i % 2 else 0.0), lane.y, 0.0), (x + (0.0 if i % 2 else 0.02), lane.y, 0.0)))
    return {"verb": (0.0, t1)}


def drop(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.subject, lane.x(0.3), lane.y)
    s.faces.append((0.0, lane.d))
    held(theatre, cue, t0)
    go = t0 + 0.5 * (t1 - t0)
    if abs(lane.x(0.3) - theatre.position(cue.subject, t0)[0]) < 0.01:
        walk(theatre, cue.subject, t0, go - 0.2, lane.x(0.45))
    at = release(theatre, cue, go)
    theatre.puppets[cue.object].go(go, go + 0.45, fall(go, go + 0.45, at))
    if not s.mouth:
        s.hands += [(go + 0.05, CHEST), (go + 0.5, REST)]
    return {"verb": (go - 0.4, go + 0.45)}


def put(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.subject, lane.x(0.3), lane.y)
    s.faces.append((0.0, lane.d))
    held(theatre, cue, t0)
    low, down = t0 + 0.35 * (t1 - t0), t0 + 0.65 * (t1 - t0)
    s.hands += [(low, CHEST), (down, LOW), (down + 0.15, LOW), (down + 0.7, REST)]
    at = release(theatre, cue, down)
    theatre.puppets[cue.object].go(down, down + 0.1, fall(down, down + 0.1, at))
    x = theatre.position(cue.subject, down)[0]
    s.go(
        down + 0.3,
        t1,
        line(down + 0.3, t1, (x, lane.y, 0.0), (x - theatre.face(cue.subject, down) * 0.15, lane.y, 0.0)),
    )
    return {"verb": (low, down)}


def _approach(theatre: Theatre, cue: Cue, lane: Lane, t0: float, touch: float, share: float) -> None:
    """Walk up to a thing on the floor, so that it lies before the hands."""
    s = theatre.puppets[cue.subject]
    place(theatre, cue.object, lane.x(share), lane.y + 0.005)
    begin(theatre, cue.subject, lane, max(share - 0.6, 0.0))
    x = theatre.position(cue.object, t0)[0]
    hold = (0.6 if s.mouth else LOW[0]) * s.size + 0.4 * theatre.puppets[cue.object].half
    walk(theatre, cue.subject, t0, touch - 0.25, x - lane.d * hold, lane.y)
    s.faces.append((t0, lane.d))


def _take(theatre: Theatre, cue: Cue, touch: float, posture: tuple[float, float], up: float) -> None:
    """Grasp a thing on the floor at `touch` and raise it until `up`."""
    s = theatre.puppets[cue.subject]
    low = (0.6, 0.1) if s.mouth else LOW
    rest = (0.6, 0.46) if s.mouth else REST
    s.hands += [(touch - 0.6, rest), (touch, low), (touch + 0.15, low), (up, posture)]
    theatre.puppets[cue.object].holds.append((touch, 1e9, cue.subject))


def held(theatre: Theatre, cue: Cue, t0: float) -> None:
    """Hold the thing at the chest (in the mouth) from the beginning, unless an earlier act took it up."""
    s = theatre.puppets[cue.subject]
    if theatre.holder(cue.object, t0) == cue.subject:
        s.hands += [] if s.mouth else [(t0, s.hands[-1][1]), (t0 + 0.3, CHEST)]
        return
    s.hands.append((0.0, (0.6, 0.46) if s.mouth else CHEST))
    theatre.puppets[cue.object].holds.append((0.0, 1e9, cue.subject))


def release(theatre: Theatre, cue: Cue, t: float) -> Point:
    """Let go of the thing at t; returns where it is then."""
    at = theatre.position(cue.object, t - 1e-6)
    o = theatre.puppets[cue.object]
    o.holds[:] = [(a, min(b, t), who) for a, b, who in o.holds]
    return at
