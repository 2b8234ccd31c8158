"""What each verb looks like: the movements of its actors and the true interval in which it is seen.

Every motion takes the theatre, the act, a lane and a time span in seconds, adds movements to the puppets, and returns
the interval of each of its triplets: "verb", "to", "with", "catch". Contact verbs really touch during that interval.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from tasks.world.theatre import (
    BACK,
    CHEST,
    FRONT,
    LOW,
    REST,
    UP,
    Point,
    Puppet,
    Theatre,
    arc,
    fall,
    line,
    slide,
    smooth,
    still,
)  # fmt: skip

Beats = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Lane:
    """The room an act has: from x0 to x1 at depth y, played in direction d (1 to the right)."""

    x0: float
    x1: float
    y: float
    d: int
    enters: bool = False
    """The subject comes in from outside the picture."""

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    def x(self, share: float) -> float:
        """A place in the lane, 0 where the motion begins, 1 where it ends."""
        return self.x0 + share * self.width if self.d > 0 else self.x1 - share * self.width


@dataclass(frozen=True)
class Cue:
    """The puppets of an act, by key."""

    subject: str
    object: str
    recipient: str | None = None
    instrument: str | None = None
    catch: bool = False


def reach(puppet: Puppet) -> float:
    """How far in front of its feet a puppet's outstretched hand (or mouth) is."""
    return (0.6 if puppet.mouth else FRONT[0]) * puppet.size


def walk(
    theatre: Theatre, key: str, t0: float, t1: float, x: float, y: float | None = None, even: bool = False
) -> None:
    """Walk from where the puppet is at t0, looking where it goes."""
    a = theatre.position(key, t0)
    b = (x, a[1] if y is None else y, a[2])
    puppet = theatre.puppets[key]
    puppet.go(t0, t1, line(t0, t1, a, b, even))
    if abs(b[0] - a[0]) > 0.01:
        puppet.faces.append((t0, 1 if b[0] > a[0] else -1))


def place(theatre: Theatre, key: str, x: float, y: float, z: float = 0.0) -> None:
    """Stand there from the beginning, unless an earlier act has already placed it."""
    puppet = theatre.puppets[key]
    if not puppet.path and not puppet.holds:
        puppet.go(0.0, 0.0, still((x, y, z)))


def _begin(theatre: Theatre, key: str, lane: Lane, share: float) -> None:
    """The subject's first place: in its lane, or outside the picture."""
    outside = -lane.d * (theatre.edge + 0.2)
    place(theatre, key, outside if lane.enters else lane.x(share), lane.y)


def _push(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    tool = 0.62 * theatre.puppets[cue.instrument].size if cue.instrument else 0.0
    gap = reach(s) + o.half * 0.85 + tool
    touch, end = t0 + 0.3 * (t1 - t0), t1 - 0.12 * (t1 - t0)
    share = min(0.42, 0.06 + (gap + 0.1) / lane.width)
    place(theatre, cue.object, lane.x(share), lane.y + 0.005)
    _begin(theatre, cue.subject, lane, 0.0)
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


def _pull(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
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


def _approach(theatre: Theatre, cue: Cue, lane: Lane, t0: float, touch: float, share: float) -> None:
    """Walk up to a thing on the floor, so that it lies before the hands."""
    s = theatre.puppets[cue.subject]
    place(theatre, cue.object, lane.x(share), lane.y + 0.005)
    _begin(theatre, cue.subject, lane, max(share - 0.6, 0.0))
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


def _lift(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random) -> Beats:
    touch, up = t0 + 0.4 * (t1 - t0), t0 + 0.85 * (t1 - t0)
    _approach(theatre, cue, lane, t0, touch, 0.55)
    _take(theatre, cue, touch, rng.choice((CHEST, UP)), up)
    return {"verb": (touch, up)}


def _held(theatre: Theatre, cue: Cue, t0: float) -> None:
    """Hold the thing at the chest (in the mouth) from the beginning, unless an earlier act took it up."""
    s = theatre.puppets[cue.subject]
    if theatre.holder(cue.object, t0) == cue.subject:
        s.hands += [] if s.mouth else [(t0, s.hands[-1][1]), (t0 + 0.3, CHEST)]
        return
    s.hands.append((0.0, (0.6, 0.46) if s.mouth else CHEST))
    theatre.puppets[cue.object].holds.append((0.0, 1e9, cue.subject))


def _carry(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    before = theatre.holder(cue.object, t0) == cue.subject if theatre.puppets[cue.object].holds else False
    _begin(theatre, cue.subject, lane, 0.0)
    _held(theatre, cue, t0)
    here = theatre.position(cue.subject, t0)[0]
    x = lane.x(0.86) if abs(lane.x(0.86) - here) > 0.3 else lane.x(0.14)
    walk(theatre, cue.subject, t0, t1, x, lane.y, even=True)
    return {"verb": (t0 if before or lane.enters else 0.0, t1)}


def _hold(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.subject, lane.x(0.4), lane.y)
    s.faces.append((0.0, lane.d))
    _held(theatre, cue, t0)
    base = s.hands[-1][1]
    for i in range(1, 9):
        s.hands.append((t0 + 0.3 + i * (t1 - t0) / 9, (base[0], base[1] + (0.03 if i % 2 else -0.03))))
    x = theatre.position(cue.subject, t0)[0]
    for i in range(4):
        a, b = t0 + i * (t1 - t0) / 4, t0 + (i + 1) * (t1 - t0) / 4
        s.go(a, b, line(a, b, (x + (0.02 if i % 2 else 0.0), lane.y, 0.0), (x + (0.0 if i % 2 else 0.02), lane.y, 0.0)))
    return {"verb": (0.0, t1)}


def _release(theatre: Theatre, cue: Cue, t: float) -> Point:
    """Let go of the thing at t; returns where it is then."""
    at = theatre.position(cue.object, t - 1e-6)
    o = theatre.puppets[cue.object]
    o.holds[:] = [(a, min(b, t), who) for a, b, who in o.holds]
    return at


def _drop(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.subject, lane.x(0.3), lane.y)
    s.faces.append((0.0, lane.d))
    _held(theatre, cue, t0)
    go = t0 + 0.5 * (t1 - t0)
    if abs(lane.x(0.3) - theatre.position(cue.subject, t0)[0]) < 0.01:
        walk(theatre, cue.subject, t0, go - 0.2, lane.x(0.45))
    at = _release(theatre, cue, go)
    theatre.puppets[cue.object].go(go, go + 0.45, fall(go, go + 0.45, at))
    if not s.mouth:
        s.hands += [(go + 0.05, CHEST), (go + 0.5, REST)]
    return {"verb": (go - 0.4, go + 0.45)}


def _put(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s = theatre.puppets[cue.subject]
    place(theatre, cue.subject, lane.x(0.3), lane.y)
    s.faces.append((0.0, lane.d))
    _held(theatre, cue, t0)
    low, down = t0 + 0.35 * (t1 - t0), t0 + 0.65 * (t1 - t0)
    s.hands += [(low, CHEST), (down, LOW), (down + 0.15, LOW), (down + 0.7, REST)]
    at = _release(theatre, cue, down)
    theatre.puppets[cue.object].go(down, down + 0.1, fall(down, down + 0.1, at))
    x = theatre.position(cue.subject, down)[0]
    s.go(
        down + 0.3,
        t1,
        line(down + 0.3, t1, (x, lane.y, 0.0), (x - theatre.face(cue.subject, down) * 0.15, lane.y, 0.0)),
    )
    return {"verb": (low, down)}


def _kick(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    hit = t0 + 0.45 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.4), lane.y + 0.005)
    _begin(theatre, cue.subject, lane, 0.0)
    x = theatre.position(cue.object, t0)[0]
    walk(theatre, cue.subject, t0, hit - 0.1, x - lane.d * (0.2 * s.size + o.half), lane.y)
    s.faces.append((t0, lane.d))
    s.kicks.append(hit)
    start = theatre.position(cue.object, hit)
    end = min(hit + 1.6, t1)
    o.go(hit, end, slide(hit, end, start, lane.x(1.0) - start[0]))
    return {"verb": (hit - 0.2, hit + 0.3)}


def _throw(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    assert cue.recipient is not None
    s, o, r = (theatre.puppets[k] for k in (cue.subject, cue.object, cue.recipient))
    place(theatre, cue.subject, lane.x(0.1), lane.y)
    place(theatre, cue.recipient, lane.x(0.92), lane.y)
    away = 1 if theatre.position(cue.recipient, t0)[0] > theatre.position(cue.subject, t0)[0] else -1
    s.faces.append((t0, away))
    r.faces.append((0.0, -away))
    _held(theatre, cue, t0)
    go = t0 + 0.45 * (t1 - t0)
    land = go + 0.9
    s.hands += [(go - 0.7, CHEST), (go - 0.25, BACK), (go, UP), (go + 0.5, REST)]
    at = _release(theatre, cue, go)
    if not r.mouth:
        r.hands += [(land - 0.6, REST), (land - 0.1, CHEST)]
    beats = {"verb": (go - 0.5, go + 0.1), "to": (go - 0.1, land)}
    if cue.catch:
        hand = theatre.hand(cue.recipient, land)
        end = (hand[0] - away * 0.45 * o.half, lane.y + 0.004, max(hand[2] - 0.5 * theatre.tall(o), 0.0))
        o.holds.append((land, 1e9, cue.recipient))
        beats["catch"] = (land, t1)
    else:
        end = (theatre.position(cue.recipient, land)[0] - away * (0.1 + o.half), lane.y + 0.01, 0.0)
    o.go(go, land, arc(go, land, at, end, 0.16))
    return beats


def _hand(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    assert cue.recipient is not None
    s, o, r = (theatre.puppets[k] for k in (cue.subject, cue.object, cue.recipient))
    meet = t0 + 0.5 * (t1 - t0)
    place(theatre, cue.subject, lane.x(0.1), lane.y)
    place(theatre, cue.recipient, lane.x(0.75), lane.y)
    away = 1 if theatre.position(cue.recipient, t0)[0] > theatre.position(cue.subject, t0)[0] else -1
    _held(theatre, cue, t0)
    r.faces.append((0.0, -away))
    x = theatre.position(cue.recipient, meet)[0] - away * (reach(s) + reach(r) + 0.6 * o.half)
    walk(theatre, cue.subject, t0, meet - 0.5, x, lane.y)
    s.faces.append((t0, away))
    height = 0.5 * (FRONT[1] * s.size + FRONT[1] * r.size)
    give, take = (FRONT[0], height / s.size), (FRONT[0], height / r.size)
    s.hands += [(meet - 0.6, CHEST), (meet - 0.2, give), (meet + 0.3, give), (meet + 0.8, REST)]
    r.hands += [(meet - 0.6, REST), (meet - 0.2, take), (meet + 0.3, take), (meet + 0.9, CHEST)]
    _release(theatre, cue, meet)
    o.holds.append((meet, 1e9, cue.recipient))
    return {"verb": (meet - 0.6, meet), "to": (meet - 0.3, meet + 0.3)}


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


def _follow(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random) -> Beats:
    return _led(theatre, cue, lane, t0, t1, rng, 0.9)


def _chase(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, rng: random.Random) -> Beats:
    return _led(theatre, cue, lane, t0 + 0.2 * (t1 - t0), t1 - 0.2 * (t1 - t0), rng, 0.4)


def _bump(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    hit = t0 + 0.5 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.75), lane.y + 0.005)
    _begin(theatre, cue.subject, lane, 0.0)
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


def _circle(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
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


def _pet(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    touch, end = t0 + 0.35 * (t1 - t0), t1 - 0.2
    place(theatre, cue.object, lane.x(0.7), lane.y - 0.006)
    o.faces.append((0.0, lane.d))
    _begin(theatre, cue.subject, lane, 0.0)
    x, y, _ = theatre.position(cue.object, t0)
    walk(theatre, cue.subject, t0, touch - 0.2, x - lane.d * (0.5 * o.half + 0.3 * s.size), lane.y)
    s.faces.append((t0, lane.d))
    s.hands += [(touch - 0.5, REST), (touch, LOW), (end, LOW), (end + 0.3, REST)]

    def back(t: float) -> Point:
        stroke = abs(((t - touch) * 1.1) % 2 - 1)
        return x - lane.d * o.half * (0.55 - 0.5 * stroke), y, 0.62 * theatre.tall(o)

    s.touches.append((touch, end, back))
    return {"verb": (touch, end)}


def _hug(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    s, o = theatre.puppets[cue.subject], theatre.puppets[cue.object]
    touch, end = t0 + 0.4 * (t1 - t0), t0 + 0.8 * (t1 - t0)
    place(theatre, cue.object, lane.x(0.6), lane.y)
    o.faces.append((0.0, -lane.d))
    _begin(theatre, cue.subject, lane, 0.0)
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


Motion = Callable[[Theatre, Cue, Lane, float, float, random.Random], Beats]

MOTIONS: dict[str, Motion] = {
    "push": _push, "pull": _pull, "lift": _lift, "carry": _carry, "hold": _hold, "drop": _drop, "put": _put,
    "kick": _kick, "throw": _throw, "hand": _hand, "follow": _follow, "chase": _chase, "bump": _bump,
    "circle": _circle, "pet": _pet, "hug": _hug,
}  # fmt: skip
