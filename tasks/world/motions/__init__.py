"""What each verb looks like: the movements of its actors and the true interval in which it is seen.

Every motion takes the theatre, the act, a lane and a time span in seconds, adds movements to the puppets, and returns
the interval of each of its triplets: "verb", "to", "with", "catch". Contact verbs really touch during that interval.
A family of motions is a file; what all of them use lies in `blocking.py`.
"""

import random
from collections.abc import Callable

from tasks.world.motions.blocking import Beats, Cue, Lane, place, walk
from tasks.world.motions.dragging import pull, push
from tasks.world.motions.holding import carry, drop, hold, lift, put
from tasks.world.motions.passing import hand, throw
from tasks.world.motions.touching import bump, hug, kick, pet
from tasks.world.motions.trailing import chase, circle, follow
from tasks.world.theatre import Theatre

__all__ = ["MOTIONS", "Beats", "Cue", "Lane", "Motion", "place", "walk"]

Motion = Callable[[Theatre, Cue, Lane, float, float, random.Random], Beats]

MOTIONS: dict[str, Motion] = {
    "push": push, "pull": pull, "lift": lift, "carry": carry, "hold": hold, "drop": drop, "put": put,
    "kick": kick, "throw": throw, "hand": hand, "follow": follow, "chase": chase, "bump": bump,
    "circle": circle, "pet": pet, "hug": hug,
}  # fmt: skip
