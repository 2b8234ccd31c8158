"""Motions of a short touch: kick, bump, pet, hug."""

import random

from tasks.world.motions.blocking import Beats, Cue, Lane, begin, place, walk
from tasks.world.theatre import LOW, REST, Point, Theatre, line, slide


def kick(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    hit = t0 + 0.45 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.4), lane.y + 0.005)
    begin(theatre, cue.subject, lane, 0.0)
    x = theatre.position(cue.object, t0)[0]
    walk(theatre, cue.subject, t0, hit - 0.1, x - lane.d * (0.2 * s.size + o.half), lane.y)
    s.faces.append((t0, lane.d))
    s.kicks.append(hit)
    start = theatre.position(cue.object, hit)
    end = min(hit + 1.6, t1)
    o.go(hit, end, slide(hit, end, start, lane.x(1.0) - start[0]))
    return {"verb": (hit - 0.2, hit + 0.3)}


def bump(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    hit = t0 + 0.5 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.75), lane.y + 0.005)
    begin(theatre, cue.subject, lane, 0.0)
    if not o.faces:
        walk(theatre, cue.object, t0, hit, lane.x(0.6), even=True)
    x = theatre.position(cue.object, hit)[0]
    gap = 0.75 * (s.half + o.half)
    a = theatre.position(cue.subject, t0)
    s.go(t0, hit, line(t0, hit, a, (x - lane.d * gap, lane.y, 0.0), even=True))
    s.faces.append((t0, lane.d))
    rest, back = hit + 0.35, hit + 1.1
    walk(theatre, cue.subject, rest, back, x - lane.d * (gap + 0.14))
    walk(theatre, cue.object, rest, back, x + lane.d * 0.12)
    s.faces[:] = [(0.0, lane.d)]
    o.faces[:] = [(0.0, -lane.d)]
    return {"verb": (hit, rest)}


def pet(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    touch, end = t0 + 0.35 * (t1 - t0), t1 - 0.2
    place(theatre, cue.object, lane.x(0.7), lane.y - 0.006)
    o.faces.append((0.0, lane.d))
    begin(theatre, cue.subject, lane, 0.0)
    x, y, _ = theatre.position(cue.object, t0)
    walk(theatre, cue.subject, t0, touch - 0.2, x - lane.d * (0.5 * o.half + 0.3 * s.size), lane.y)
    s.faces.append((t0, lane.d))
    s.hands += [(touch - 0.5, REST), (touch, LOW), (end, LOW), (end + 0.3, REST)]

    def back(t: float) -> Point:
        stroke = abs(((t - touch) * 1.1) % 2 - 1)
        return x - lane.d * o.half * (0.55 - 0.5 * stroke), y, 0.62 * theatre.tall(o)

    s.touches.append((touch, end, back))
    return {"verb": (touch, end)}


def hug(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    touch, end = t0 + 0.4 * (t1 - t0), t0 + 0.8 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.6), lane.y)
    o.faces.append((0.0, -lane.d))
    begin(theatre, cue.subject, lane, 0.0)
    x, y, _ = theatre.position(cue.object, t0)
    near = x - lane.d * 0.8 * (s.half + o.half)
    walk(theatre, cue.subject, t0, touch, near, lane.y + 0.004)
    s.faces.append((t0, lane.d))
    level = 0.66 * min(s.size, o.size)
    s.touches.append((touch - 0.1, end, lambda _t: (x + lane.d * 0.3 * o.half, y, level)))
    o.touches.append((touch + 0.1, end, lambda _t: (near - lane.d * 0.3 * s.half, y, level)))
    walk(theatre, cue.subject, end, t1, near - lane.d * 0.15)
    s.faces[:] = [(0.0, lane.d)]
    return {"verb": (touch, end)}
