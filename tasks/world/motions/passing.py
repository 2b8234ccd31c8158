"""Motions that bring a thing to another: throw and hand."""

import random

from tasks.world.motions.blocking import Beats, Cue, Lane, place, reach, walk
from tasks.world.motions.holding import held, release
from tasks.world.theatre import BACK, CHEST, FRONT, REST, UP, Theatre, arc


def throw(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    assert cue.recipient is not None
    s, o, r = (theatre.puppets[k] for k in (cue.subject, cue.object, cue.recipient))
    place(theatre, cue.subject, lane.x(0.1), lane.y)
    place(theatre, cue.recipient, lane.x(0.92), lane.y)
    away = 1 if theatre.position(cue.recipient, t0)[0] > theatre.position(cue.subject, t0)[0] else -1
    s.faces.append((t0, away))
    r.faces.append((0.0, -away))
    held(theatre, cue, t0)
    go = t0 + 0.45 * (t1 - t0)
    land = go + 0.9
    s.hands += [(go - 0.7, CHEST), (go - 0.25, BACK), (go, UP), (go + 0.5, REST)]
    at = release(theatre, cue, go)
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


def hand(theatre: Theatre, cue: Cue, lane: Lane, t0: float, t1: float, _rng: random.Random) -> Beats:
    assert cue.recipient is not None
    s, o, r = (theatre.puppets[k] for k in (cue.subject, cue.object, cue.recipient))
    meet = t0 + 0.5 * (t1 - t0)
    place(theatre, cue.subject, lane.x(0.1), lane.y)
    place(theatre, cue.recipient, lane.x(0.75), lane.y)
    away = 1 if theatre.position(cue.recipient, t0)[0] > theatre.position(cue.subject, t0)[0] else -1
    held(theatre, cue, t0)
    r.faces.append((0.0, -away))
    x = theatre.position(cue.recipient, meet)[0] - away * (reach(s) + reach(r) + 0.6 * o.half)
    walk(theatre, cue.subject, t0, meet - 0.5, x, lane.y)
    s.faces.append((t0, away))
    height = 0.5 * (FRONT[1] * s.size + FRONT[1] * r.size)
    give, take = (FRONT[0], height / s.size), (FRONT[0], height / r.size)
    s.hands += [(meet - 0.6, CHEST), (meet - 0.2, give), (meet + 0.3, give), (meet + 0.8, REST)]
    r.hands += [(meet - 0.6, REST), (meet - 0.2, take), (meet + 0.3, take), (meet + 0.9, CHEST)]
    release(theatre, cue, meet)
    o.holds.append((meet, 1e9, cue.recipient))
    return {"verb": (meet - 0.6, meet), "to": (meet - 0.3, meet + 0.3)}
