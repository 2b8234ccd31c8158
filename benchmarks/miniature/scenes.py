"""Short scenes in which the words alone say who does it, or to whom.

Of every picture there are two turns: the first frame is the same, and the captions bind the act to one or the other of
two that look alike. A model that does not read who is meant is right in one of the two at most. Three kinds of doubt:

agent    two of one class, each beside its own thing, and one of them acts: the other pair is the distractor
object   one between two things of one class, of which it takes one
roles    two face each other, and either does it to the other
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from schemas.base import InstanceId
from tasks.world import backdrop
from tasks.world.acts import Act
from tasks.world.brush import Look
from tasks.world.captions import Caption, write_caption
from tasks.world.motions import MOTIONS, Beats, Cue, Lane, place
from tasks.world.phrases import Actor
from tasks.world.plots import Plot
from tasks.world.scene import Scene, Shot
from tasks.world.staging import make_look, measure
from tasks.world.theatre import Puppet, Theatre
from tasks.world.words import COLOURS, verbs

KINDS = ("agent", "object", "roles")
PAINTS = ("red", "yellow", "green", "blue", "white", "black")
"""No two of them can be mixed up (`tasks.world.words.CONFUSABLE`)."""
ALONE = ("push", "push", "kick", "lift")
TOGETHER = ("bump", "hug")
THINGS = ("ball", "box")
PEOPLE = ("man", "woman", "boy", "girl")
NEVER = 1e3
"""Seconds: when those act who only stand where they would begin."""
DRAFTS = 24
"""Captions written, of which the shortest is taken: one plain sentence of the world's grammar."""


@dataclass(frozen=True)
class Asked:
    """A scene, and what there is instead of what its caption says."""

    name: str
    kind: str
    scene: Scene
    right: tuple[str, str]
    """Subject and object, by ID."""
    wrong: tuple[str, str]
    """Those of the other turn."""

    @property
    def ids(self) -> set[InstanceId]:
        return {*self.right, *self.wrong}


@dataclass(frozen=True)
class Film:
    """Size and length of the videos."""

    frames: int
    height: int
    width: int
    fps: int

    @property
    def seconds(self) -> float:
        return (self.frames - 1) / self.fps


def scenes(seed: int, pictures: int, film: Film) -> Iterator[Asked]:
    """Both turns of so many pictures, kinds in turn. The same arguments give the same scenes."""
    for number in range(pictures):
        for turn in (0, 1):
            yield asked(seed, number, turn, film)


def asked(seed: int, number: int, turn: int, film: Film) -> Asked:
    """One scene. The draws of both turns are the same up to the caption, and the first frame with them."""
    name, kind = f"{seed}-{number:04d}-{turn}", KINDS[number % len(KINDS)]
    rng = random.Random(f"miniature:{seed}:{number}")
    motion = rng.choice(TOGETHER if kind == "roles" else ALONE)
    verb = rng.choice(verbs(motion))
    paints = rng.sample(PAINTS, 4)
    people, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    persons = [Actor(f"p{i}", people, paints[i], worn="in") for i in (0, 1)]
    things = [Actor(f"t{i}", thing, paints[2 + i]) for i in (0, 1)]
    if kind == "agent":
        cast, pairs = [*persons, *things], [(persons[0], things[0]), (persons[1], things[1])]
    elif kind == "object":
        cast, pairs = [persons[0], *things], [(persons[0], things[0]), (persons[0], things[1])]
    else:
        cast, pairs = persons, [(persons[0], persons[1]), (persons[1], persons[0])]
    theatre = Theatre(film.width / 2 / film.height)
    for actor in cast:
        theatre.puppets[actor.key] = Puppet(actor.key, actor.cls, *measure(actor, "plain"))
    right, wrong = pairs[turn], pairs[1 - turn]
    beats = _stage(rng, theatre, kind, motion, pairs, turn, film.seconds)
    setting, colours = backdrop.choose(rng, [COLOURS[a.colour] for a in cast], "plain")
    view = backdrop.Backdrop(
        film.width, film.height, film.height, setting, colours, rng.randrange(2**31), "plain"
    )  # fmt: skip
    looks: dict[str, Look] = {a.key: make_look(rng, a, film.height, "plain", colours[1]) for a in cast}
    # IDs are drawn by lot: in the order of the words, their colours in the ID map would say who does it.
    order = tuple(rng.sample([a.key for a in cast], len(cast)))
    ids = {key: f"id{k + 1}" for k, key in enumerate(order)}
    # What comes now may differ between the turns.
    act = Act(verb, right[0].key, right[1].key)
    plot = Plot(right, (act,), "single", tuple((a, "stands") for a in cast if a not in right), frozenset())
    drafts = [write_caption(right, (act,), "single", random.Random(f"{name}:{i}")) for i in range(DRAFTS)]
    caption: Caption = min(drafts, key=lambda c: len(c.text))
    length = film.frames / film.fps
    shot = Shot(0.0, length, theatre, (beats,), view, backdrop.Camera((0, 0), (0, 0), 0, 0, 0), ())
    scene = Scene(
        seed=rng.randrange(2**31), level="plain", width=film.width, height=film.height, rate=Fraction(film.fps),
        count=film.frames, plot=plot, caption=caption, ids=ids, shots=(shot,), looks=looks, unit=film.height,
        blur=0.0, streak=1, noise=1.0, post_colour=(0, 0, 0), order=order,
    )  # fmt: skip
    named = [(ids[a.key], ids[b.key]) for a, b in (right, wrong)]
    return Asked(name, kind, scene, *named)


def _stage(
    rng: random.Random,
    theatre: Theatre,
    kind: str,
    motion: str,
    pairs: list[tuple[Actor, Actor]],
    turn: int,
    end: float,
) -> Beats:
    """Puts both pairs in their places and lets the one of this turn act; its beats."""
    y, out = rng.uniform(0.28, 0.36), rng.random() < 0.5
    near, far = (0.1, 0.7) if kind == "agent" else (0.0, 0.66)
    if kind == "roles":
        # The share of the lane that the motion puts between the two: they stand on both sides of the middle.
        share, apart = {"bump": 0.75, "hug": 0.6}[motion], rng.uniform(0.5, 0.62)
        side = rng.choice((-1, 1))
        lanes = [_between(-d * apart / 2, apart / share, y, d) for d in (side, -side)]
    elif kind == "agent":
        # Both outwards or both inwards, each in its own half.
        left = Lane(-far, -near, y, -1 if out else 1)
        right = Lane(near, far, y, 1 if out else -1)
        lanes = [left, right] if rng.random() < 0.5 else [right, left]
    else:
        lanes = [Lane(-far, near, y, -1), Lane(near, far, y, 1)]
        lanes = lanes if rng.random() < 0.5 else lanes[::-1]
    looks = rng.choice((-1, 1))
    choices = rng.random()  # of how a motion goes on: the same in both turns
    for k, lane in enumerate(lanes):
        for actor, face in zip(pairs[k], (lane.d, -lane.d), strict=True):
            if kind != "object":
                theatre.puppets[actor.key].faces = [(0.0, face)]
    if kind == "object":
        theatre.puppets[pairs[0][0].key].faces = [(0.0, looks)]
    if kind == "roles":  # first of all: a motion stands its two a bit apart in depth
        for k, lane in enumerate(lanes):
            place(theatre, pairs[k][0].key, lane.x(0.0), y)
    subject, target = (a.key for a in pairs[turn])
    beats = MOTIONS[motion](theatre, Cue(subject, target), lanes[turn], 0.1, end, random.Random(choices))
    if kind == "agent":
        subject, target = (a.key for a in pairs[1 - turn])
        MOTIONS[motion](theatre, Cue(subject, target), lanes[1 - turn], NEVER, NEVER + end, random.Random(choices))
    elif kind == "object":
        x, y, z = theatre.position(target, 0.0)
        theatre.puppets[pairs[1 - turn][1].key].go(0.0, 0.0, lambda _t: (-x, y, z))
    return beats


def _between(start: float, width: float, y: float, d: int) -> Lane:
    """A lane of this width that begins at `start` and goes in direction d."""
    return Lane(min(start, start + d * width), max(start, start + d * width), y, d)
