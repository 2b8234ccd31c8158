"""Motions about another without a touch: follow, chase, circle."""

import math
import random

from tasks.world.motions.blocking import Beats, Cue, Lane, place, walk
from tasks.world.theatre import Point, Theatre, smooth


def follow(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random) -> Beats:
    return _led(theatre, cue, lane, t0, t1, rng, 0.9)


def chase(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random) -> Beats:
    return _led(theatre, cue, lane, t0 + 0.2 * (t1 - t0), t1 - 0.2 * (t1 - t0), rng, 0.4)


def circle(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.object, lane.x(0.5), lane.y)
    x, y, _ = theatre.position(cue.object, t0)
    wide = min(0.3, 0.45 * lane.width)
    z = 0.2 if s.flies else 0.0

    def path(t: float) -> Point:
        angle = math.pi * (1 + lane.d * 2.4 * (t - t0) / (t1 - t0))
        return x + wide * math.cos(angle), y + 0.07 * math.sin(angle), z

    place(theatre, cue.subject, *path(t0))
    s.go(t0, t1, path)
    return {"verb": (t0, t1)}


def _led(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random, lag: float) -> Beats:
    """The object walks, the subject comes after it on the same way, `lag` seconds later."""
    o, s = theatre.puppets[cue.object], theatre.puppets[cue.subject]
    if not o.path:
        place(theatre, cue.object, lane.x(0.3), lane.y)
        leave = t0 + 0.45 * (t1 - t0)
        if rng.random() < 0.4:
            outside = lane.d * (theatre.edge + 0.35)
            walk(theatre, cue.object, t0, leave, outside, even=True)
            walk(theatre, cue.object, leave, t1, lane.x(0.3), lane.y + 0.06, even=True)
        else:
            walk(theatre, cue.object, t0, t1, lane.x(1.0), even=True)
    d = 1 if theatre.position(cue.object, t1)[0] >= theatre.position(cue.object, t0)[0] else -1
    d = lane.d if abs(theatre.position(cue.object, t1)[0] - theatre.position(cue.object, t0)[0]) < 0.05 else d
    first = theatre.position(cue.object, t0)
    behind = first[0] - d * (0.5 * s.half + o.half + 0.22)
    begin = -d * (theatre.edge + 0.2) if lane.enters else behind
    place(theatre, cue.subject, begin, first[1] + 0.02, 0.24 if s.flies else 0.0)

    def path(t: float) -> Point:
        """Blends from the start into the leader's way; ends the same distance short of its end."""
        x, y, _ = theatre.position(cue.object, max(t - lag, t0))
        near = smooth((t - t0) / max(lag, 0.1))
        x -= d * (0.6 * (s.half + o.half) + 0.05)
        return begin + near * (x - begin), y + 0.02, 0.24 if s.flies else 0.0

    s.go(t0, t1, path)
    return {"verb": (t0 + lag, t1)}
