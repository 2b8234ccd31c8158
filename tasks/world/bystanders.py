"""Those without a part in any act: where they stand, how they cross the picture, and what stands before everything."""

import random

from schemas.truth import Level
from tasks.world.motions import place, walk
from tasks.world.plots import Plot
from tasks.world.theatre import Theatre
from tasks.world.words import KIND

_MOMENTS = (0.0, 0.8, 1.6, 2.4, 3.2, 4.0, 4.8, 5.6)
"""When, in seconds, the cast's places are looked at to keep the view on them free."""


def idle(rng: random.Random, plot: Plot, theatre: Theatre, length: float) -> None:
    """Places for members of the cast that no act has placed: they stand apart, or walk about alone."""
    free = [a for a in plot.cast if not theatre.puppets[a.key].path and not theatre.puppets[a.key].holds]
    for k, actor in enumerate(free):
        x = -0.5 + (k + 0.5) / len(free)
        place(theatre, actor.key, x + rng.uniform(-0.04, 0.04), rng.uniform(0.24, 0.38))
        if KIND[actor.cls] in ("person", "animal") and rng.random() < 0.7:
            walk(theatre, actor.key, 1.0, min(4.5, length), x + rng.choice((-1, 1)) * 0.16)


def hidden_share(theatre: Theatre, key: str, x: float, half: float) -> float:
    """Share of the moments in which something at x, `half` wide to each side, would stand before an actor."""
    puppet = theatre.puppets[key]
    reach = half + (puppet.size / 2 if KIND[puppet.cls] == "instrument" else puppet.half)
    return sum(abs(theatre.position(key, t)[0] - x) < reach for t in _MOMENTS) / len(_MOMENTS)


def _clear(plot: Plot, theatre: Theatre, x: float, half: float, bar: float) -> bool:
    return all(hidden_share(theatre, actor.key, x, half) <= bar for actor in plot.cast)


def stand_by(rng: random.Random, plot: Plot, theatre: Theatre, length: float, level: Level) -> None:
    """The extras: they stand behind or before the others, wave, or cross the picture.

    In `plain` nobody stands before a member of the cast for good: things in front keep clear of them.
    """
    slots = [-0.62, -0.38, -0.12, 0.12, 0.38, 0.62]
    rng.shuffle(slots)
    for (actor, does), slot in zip(plot.extras, slots, strict=False):
        puppet = theatre.puppets[actor.key]
        x = slot + rng.uniform(-0.05, 0.05)
        if does == "twin":
            x = (0.45 if actor.place == "right" else -0.45) + rng.uniform(-0.1, 0.1)
            place(theatre, actor.key, x, rng.uniform(0.22, 0.36))
        elif does == "crosses":
            _cross(rng, theatre, actor.key, length)
        else:
            back = KIND[actor.cls] != "thing" or rng.random() < 0.6
            if level == "plain" and not _clear(plot, theatre, x, puppet.half, 0.25):
                back = True
            place(theatre, actor.key, x, rng.uniform(0.1, 0.17) if back else rng.uniform(0.41, 0.45))
            puppet.faces.append((0.0, rng.choice((-1, 1))))
            if does == "waves":
                begin = rng.uniform(0.5, 2.5)
                puppet.waves = (begin, begin + 2.5)


def _cross(rng: random.Random, theatre: Theatre, key: str, length: float) -> None:
    """From one side to the other, before or behind everybody; at times out of the picture and back in."""
    y = rng.choice((0.14, 0.16, 0.18, 0.43))
    d = rng.choice((-1, 1))
    outside = theatre.edge + 0.25
    begin, leave = rng.uniform(0.0, 1.5), rng.uniform(4.6, 6.0)
    place(theatre, key, -d * outside if begin > 0.4 else -d * 0.55, y)
    if rng.random() < 0.35:
        turn = begin + 0.5 * (leave - begin)
        walk(theatre, key, begin, turn, d * outside, even=True)
        walk(theatre, key, turn + 0.4, length, -d * 0.2, even=True)
    else:
        walk(theatre, key, begin, leave, d * outside, even=True)


def posts(rng: random.Random, plot: Plot, theatre: Theatre, level: Level) -> tuple[tuple[float, float], ...]:
    """A post before everything, as (x, half width): thin and passed in a moment in `plain`, wide in `hard`.

    It always hides somebody of the cast for a while, and nobody for good.
    """
    hard = level == "hard"
    if rng.random() > (0.6 if hard else 0.35):
        return ()
    for _ in range(8):
        x = rng.uniform(-0.3, 0.3) if hard else rng.uniform(-0.5, 0.5)
        half = rng.uniform(0.09, 0.14) if hard else rng.uniform(0.018, 0.03)
        hidden = max((hidden_share(theatre, a.key, x, half) for a in plot.cast), default=0.0)
        if 0.0 < hidden <= (0.65 if hard else 0.3):
            return ((x, half),)
    return ()
