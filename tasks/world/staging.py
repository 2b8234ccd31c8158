"""Everything that is decided about a video before it is drawn: its size and rate, lanes and times, looks and views.

The action happens inside the centred 3:2 region of the picture and within the first 6.1 s of a shot, so that a window
of 49 frames at 8 fps, cropped to 480×720, shows all of it.
"""

import random
from dataclasses import dataclass
from fractions import Fraction

from schemas.truth import Level
from tasks.world import backdrop
from tasks.world.brush import Look, Rgb, shade
from tasks.world.bystanders import idle, posts, stand_by
from tasks.world.captions import write_caption
from tasks.world.motions import MOTIONS, Beats, Cue, Lane
from tasks.world.phrases import Actor
from tasks.world.plots import Plot, make_plot
from tasks.world.scene import Scene, Shot
from tasks.world.theatre import Puppet, Theatre
from tasks.world.words import COLOURS, KIND

SIZES = ((640, 360), (640, 480), (640, 480), (854, 480), (720, 480), (720, 720), (960, 540))
"""Width and height of the pictures, in pixels."""

RATES = (
    *(Fraction(n) for n in (10, 12, 15, 15, 24, 25, 30)), Fraction(25, 2), Fraction(24000, 1001), Fraction(30000, 1001),
)  # fmt: skip
"""Frames a second."""

_BUILD: dict[str, tuple[float, float]] = {
    "person": (0.50, 0.070), "man": (0.52, 0.076), "woman": (0.49, 0.066), "boy": (0.39, 0.060), "girl": (0.38, 0.056),
    "dog": (0.30, 0.16), "cat": (0.25, 0.13), "bird": (0.16, 0.09), "ball": (0.13, 0.065), "box": (0.165, 0.095),
    "cup": (0.135, 0.068), "book": (0.12, 0.082), "bottle": (0.185, 0.038), "stick": (0.34, 0.015),
    "rope": (0.30, 0.013),
}  # fmt: skip
"""Size and half width in units of the safe height."""

_TRIMS = ((54, 58, 74), (88, 82, 76), (112, 106, 100), (62, 66, 62))
_SKINS = ((226, 184, 152), (196, 146, 110), (140, 96, 68))
_HAIRS = ((38, 30, 28), (88, 58, 38), (150, 122, 84), (120, 116, 112))
_MAY_ENTER = ("push", "lift", "kick", "bump", "pet", "hug", "carry", "follow", "chase")
_WIDE = 0.6


@dataclass(frozen=True)
class _Format:
    width: int
    height: int
    level: Level

    @property
    def unit(self) -> float:
        """Height in pixels of the largest centred 3:2 region."""
        return min(float(self.height), self.width * 2 / 3)


def dice_of(seed: int, level: Level, silent: bool = False) -> random.Random:
    return random.Random(f"world:{seed}:{level}:{silent}")


def make_scene(
    seed: int, level: Level, silent: bool = False, size: tuple[int, int] | None = None, rate: Fraction | None = None,
    cut: bool | None = None,
) -> Scene:  # fmt: skip
    """Decide everything about a video; nothing is drawn yet.

    `silent`: its caption states no interaction. `size` (width, height), `rate` and `cut` (two shots) are drawn by lot
    where they are not given.
    """
    rng = dice_of(seed, level, silent)
    plot = make_plot(rng, level, silent)
    drawn_size, drawn_rate, drawn_cut = rng.choice(SIZES), rng.choice(RATES), rng.random() < 0.08
    form = _Format(*(size or drawn_size), level)
    rate = rate or drawn_rate
    actors = {a.key: a for a in (*plot.cast, *(e for e, _ in plot.extras))}
    views = [backdrop.choose(rng, [COLOURS[a.colour] for a in plot.cast], level) for _ in range(2)]
    speakers = [e for e, _ in plot.extras if e.key in plot.spoken]
    caption = write_caption(plot.cast, plot.acts, plot.link, rng, speakers, views[0][0])
    nowhere = len(caption.text)
    first = {key: spans[0].start if spans else nowhere for key, spans in caption.mentions.items()}
    order = tuple(sorted(actors, key=lambda k: (first.get(k, nowhere), k)))
    looks = {key: make_look(rng, actor, form.unit, level, views[0][1][1]) for key, actor in actors.items()}
    two = drawn_cut if cut is None else cut
    lengths = [rng.uniform(6.4, 7.0) for _ in range(2)] if two else [rng.uniform(6.35, 9.0)]
    shots, start = [], Fraction(0)
    for k, seconds in enumerate(lengths):
        end = start + Fraction(round(seconds * rate)) / rate
        setting, colours = views[k]
        view = backdrop.Backdrop(form.width, form.height, form.unit, setting, colours, seed * 8 + k, level)
        shots.append(_shot(rng, plot, form, float(start), float(end), view))
        start = end
    hard = level == "hard"
    return Scene(
        seed=seed, level=level, width=form.width, height=form.height, rate=rate, count=round(start * rate), plot=plot,
        caption=caption, ids={k: f"id{i + 1}" for i, k in enumerate(order)}, shots=tuple(shots), looks=looks,
        unit=form.unit, blur=(rng.uniform(1.2, 2.8) if hard else rng.choice((0.0, 0.5, 0.8))) * form.unit / 480,
        streak=rng.choice((1, 5, 9, 13)) if hard else 1, noise=rng.uniform(7, 13) if hard else rng.uniform(1.5, 5),
        post_colour=shade(views[0][1][0], rng.uniform(0.55, 0.75)), order=order,
    )  # fmt: skip


def make_look(rng: random.Random, actor: Actor, unit: float, level: Level, floor: Rgb) -> Look:
    """How an actor is drawn, some of it by lot. unit: pixels of the safe region's height."""
    size, half = measure(actor, level)
    lighter = rng.randint(-8, 8)
    red, green, blue = (min(max(c + lighter + rng.randint(-3, 3), 0), 255) for c in COLOURS[actor.colour])
    main = (red, green, blue)
    if level == "hard":
        main = ((red + floor[0]) // 2, (green + floor[1]) // 2, (blue + floor[2]) // 2)
    return Look(
        actor.cls, main, rng.choice(_TRIMS), rng.choice(_SKINS), rng.choice(_HAIRS), size * unit, half * unit,
        rng.random() < 0.35,
    )  # fmt: skip


def measure(actor: Actor, level: Level) -> tuple[float, float]:
    """Size and half width of an actor; its adjective shows, and in `hard` everything is smaller, things most."""
    factor = {"small": 0.88, "large": 1.18, "tall": 1.06}.get(actor.adjective, 1.0)
    if level == "hard":
        factor *= 0.62 if KIND[actor.cls] == "thing" else 0.85
    size, half = _BUILD[actor.cls]
    return size * factor, half * factor


def _shot(rng: random.Random, plot: Plot, form: _Format, start: float, end: float, view: backdrop.Backdrop) -> Shot:
    theatre = Theatre(form.width / 2 / form.unit)
    for actor in (*plot.cast, *(e for e, _ in plot.extras)):
        size, half = measure(actor, form.level)
        flies = actor.cls == "bird" and any(a.subject == actor.key for a in plot.acts)
        theatre.puppets[actor.key] = Puppet(
            actor.key, actor.cls, size, half, mouth=KIND[actor.cls] == "animal", flies=flies
        )
    beats = _act_out(rng, plot, theatre)
    idle(rng, plot, theatre, end - start)
    stand_by(rng, plot, theatre, end - start, form.level)
    in_front = posts(rng, plot, theatre, form.level)
    return Shot(start, end, theatre, beats, view, backdrop.camera(rng, form.level), in_front)


def _act_out(rng: random.Random, plot: Plot, theatre: Theatre) -> tuple[Beats, ...]:
    """Give the acts their lanes and times and play them. Intervals by act, in the order of the plot."""
    t0, t1 = rng.uniform(0.3, 0.7), rng.uniform(5.5, 5.9)
    y, d = rng.uniform(0.27, 0.36), rng.choice((-1, 1))
    acts = plot.acts
    cues = [Cue(a.subject, a.object, a.recipient, a.instrument, a.catch is not None) for a in acts]

    def play(k: int, lane: Lane, begin: float, end: float) -> Beats:
        return MOTIONS[acts[k].verb.motion](theatre, cues[k], lane, begin, end, rng)

    if plot.link == "none":
        return ()
    if plot.link == "while":
        left = Lane(-0.68, -0.06, y, rng.choice((-1, 1)))
        right = Lane(0.06, 0.68, rng.uniform(0.27, 0.36), rng.choice((-1, 1)))
        lanes = (left, right) if d > 0 else (right, left)
        return play(0, lanes[0], t0, t1), play(1, lanes[1], t0, t1)
    if plot.link == "chain":  # the object of the first act walks first: its own act says where
        ahead = Lane(-0.3, _WIDE, y, 1) if d > 0 else Lane(-_WIDE, 0.3, y, -1)
        second = play(1, ahead, t0, t1)
        return play(0, Lane(-_WIDE, _WIDE, y, d), t0, t1), second
    side = next((a.place for a in plot.cast if a.place), "")
    if side:
        lane = Lane(-0.66, 0.0, y, d) if side == "left" else Lane(0.0, 0.66, y, d)
    else:
        enters = rng.random() < 0.3 and acts[0].verb.motion in _MAY_ENTER and not acts[0].instrument
        lane = Lane(-_WIDE, _WIDE, y, d, enters)
    if plot.link == "single":
        return (play(0, lane, t0, t1),)
    middle = t0 + rng.uniform(0.48, 0.56) * (t1 - t0)
    return play(0, lane, t0, middle), play(1, lane, middle, t1)
