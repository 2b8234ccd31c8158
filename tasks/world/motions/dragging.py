"""Motions that move a thing over the floor: push and pull, by hand, mouth or instrument."""

import random
from collections.abc import Callable

from tasks.world.motions.blocking import Beats, Cue, Lane, begin, place, reach, walk
from tasks.world.theatre import FRONT, REST, Point, Puppet, Theatre, line


def push(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    tool = 0.62 * theatre.puppets[cue.instrument].size if cue.instrument else 0.0
    gap = reach(s) + o.half * 0.85 + tool
    touch, end = t0 + 0.3 * (t1 - t0), t1 - 0.12 * (t1 - t0)
    share = min(0.42, 0.06 + (gap + 0.1) / lane.width)
    place(theatre, cue.object, lane.x(share), lane.y + 0.005)
    begin(theatre, cue.subject, lane, 0.0)
    start = theatre.position(cue.object, t0)
    walk(theatre, cue.subject, t0, touch, start[0] - lane.d * gap, lane.y)
    s.faces.append((t0, lane.d))
    far = lane.x(0.95) - start[0]
    walk(theatre, cue.subject, touch, end, start[0] - lane.d * gap + far)
    o.go(touch, end, line(touch, end, start, (start[0] + far, start[1], 0.0)))
    if cue.instrument:
        _grip(theatre, cue, lambda t: _side(theatre, cue.object, t, -lane.d * 0.8), s)
        return {"verb": (touch, end), "with": (0.0, t1)}
    if s.mouth:
        s.hands += [(t0, (0.56, 0.4)), (touch, (0.6, 0.22)), (end, (0.6, 0.22)), (end + 0.3, (0.56, 0.4))]
    else:
        s.hands += [(touch - 0.5, REST), (touch - 0.1, FRONT), (end, FRONT), (end + 0.4, REST)]
    s.touches.append((touch, end, lambda t: _side(theatre, cue.object, t, -lane.d * 0.8)))
    return {"verb": (touch, end)}


def pull(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    tool = 0.62 * theatre.puppets[cue.instrument].size if cue.instrument else 0.0
    gap = reach(s) + o.half * 0.85 + tool
    touch, end = t0 + 0.25 * (t1 - t0), t1 - 0.1 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.08), lane.y + 0.005)
    start = theatre.position(cue.object, t0)
    place(theatre, cue.subject, start[0] + lane.d * (gap + 0.15), lane.y)
    walk(theatre, cue.subject, t0, touch, start[0] + lane.d * gap, lane.y)
    walk(theatre, cue.subject, touch, end, lane.x(0.95))
    s.faces[:] = [(0.0, -lane.d)]
    far = lane.x(0.95) - lane.d * gap - start[0]
    o.go(touch, end, line(touch, end, start, (start[0] + far, start[1], 0.0)))
    if cue.instrument:
        _grip(theatre, cue, lambda t: _side(theatre, cue.object, t, lane.d * 0.8), s)
        return {"verb": (touch, end), "with": (0.0, t1)}
    if not s.mouth:
        s.hands += [(touch - 0.5, REST), (touch - 0.1, FRONT), (end, FRONT), (end + 0.4, REST)]
    s.touches.append((touch, end, lambda t: _side(theatre, cue.object, t, lane.d * 0.8)))
    return {"verb": (touch, end)}


def _side(theatre: Theatre, key: str, t: float, share: float) -> Point:
    """A point on a thing: `share` of its half width to the right of its middle, a bit above half its height."""
    x, y, z = theatre.position(key, t)
    puppet = theatre.puppets[key]
    return x + share * puppet.half, y, z + 0.55 * theatre.tall(puppet)


def _grip(theatre: Theatre, cue: Cue, target: Callable[[float], Point], s: Puppet) -> None:
    """The instrument lies in the hand all the time and points at the target."""
    assert cue.instrument is not None
    tool = theatre.puppets[cue.instrument]
    tool.holds.append((0.0, 1e9, cue.subject))
    tool.aims.append((0.0, 1e9, target))
    s.hands.append((0.0, FRONT))
