"""What a video is about: who takes part, who does what to whom, and who else is there."""

import random
from dataclasses import dataclass

from schemas.truth import Level
from tasks.world.acts import Act, Link
from tasks.world.phrases import Actor
from tasks.world.words import (
    ANIMAL_WORDS,
    ANIMALS,
    COLOURS,
    CONFUSABLE,
    GARMENTS,
    KIND,
    PERSON_WORDS,
    THING_WORDS,
    THINGS,
    Verb,
    verbs,
)  # fmt: skip

_SUBJECTS = {
    "push": "PPPA", "pull": "PPPA", "lift": "P", "carry": "PPPA", "hold": "PPA", "drop": "PPA", "put": "P", "kick": "P",
    "throw": "P", "hand": "P", "follow": "PPAA", "chase": "PAAA", "bump": "PPA", "circle": "PAA", "pet": "P",
    "hug": "P",
}  # fmt: skip
"""Who may do it: P a person, A an animal; a letter more is a higher chance."""

_OBJECTS = {
    "push": ("box", "box", "ball"), "pull": ("box",), "lift": THINGS, "carry": THINGS, "hold": THINGS, "drop": THINGS,
    "put": THINGS, "kick": ("ball", "ball", "box"), "throw": ("ball", "ball", "bottle", "book"), "hand": THINGS,
}  # fmt: skip
_BY_MOUTH = ("ball", "book", "stick", "bottle")
_LIVING = {"follow": "PPA", "chase": "PAA", "bump": "PPA", "circle": "PPA", "pet": "A", "hug": "P"}
"""Whom it is done to, for the verbs between living beings."""

SINGLE = ("push", "push", "pull", "lift", "lift", "carry", "hold", "drop", "put", "kick", "kick", "throw", "throw",
          "hand", "hand", "bump", "pet", "pet", "hug", "follow", "chase", "circle")  # fmt: skip
THEN = (("lift", "carry"), ("carry", "drop"), ("carry", "put"), ("lift", "throw"), ("lift", "hand"), ("push", "lift"),
        ("hold", "drop"), ("lift", "put"))  # fmt: skip
WHILE = ("push", "pull", "lift", "hold", "drop", "put", "pet", "hug", "bump")
CHAIN = (("follow", "carry"), ("follow", "carry"), ("chase", "carry"), ("circle", "hold"), ("follow", "push"),
         ("chase", "push"))  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """The actors of the acts, the acts, how the caption joins them, and further drawn actors with their business."""

    cast: tuple[Actor, ...]
    acts: tuple[Act, ...]
    link: Link
    extras: tuple[tuple[Actor, str], ...]
    """Each with what it does: "stands", "waves", "crosses", "twin" (the same thing, elsewhere)."""
    spoken: frozenset[str]
    """Keys of the extras that the caption mentions."""


class _Casting:
    """Hands out actors whose words differ from those of all others so far."""

    def __init__(self, rng: random.Random, level: Level) -> None:
        self.rng, self.level = rng, level
        self.actors: list[Actor] = []
        self.people = ["person"] if rng.random() < 0.2 else ["man", "woman", "boy", "girl"]

    def person(self, grown: bool = False) -> Actor:
        pool = [p for p in self.people if not (grown and p in ("boy", "girl"))]
        rng, cls = self.rng, self.rng.choice(pool)
        return self._add(cls, garment=rng.choice(GARMENTS), worn=rng.choice(("in a", "in a", "wearing a", "in")),
                         adjective=rng.choice(PERSON_WORDS) if rng.random() < 0.25 else "")  # fmt: skip

    def animal(self, birds: bool = True) -> Actor:
        cls = self.rng.choice(ANIMALS if birds else ("dog", "dog", "cat"))
        return self._add(cls, adjective=self.rng.choice(ANIMAL_WORDS) if self.rng.random() < 0.25 else "")

    def thing(self, cls: str) -> Actor:
        return self._add(cls, adjective=self.rng.choice(THING_WORDS) if self.rng.random() < 0.25 else "")

    def _add(self, cls: str, adjective: str = "", garment: str = "", worn: str = "in a") -> Actor:
        actor = Actor(f"a{len(self.actors)}", cls, self._colour(cls), adjective, garment, worn)
        self.actors.append(actor)
        return actor

    def _colour(self, cls: str) -> str:
        """In `plain` no colour that could be mixed up with one in use; in `hard` any."""
        used = [a.colour for a in self.actors]
        pool = list(COLOURS)
        if KIND[cls] == "animal" and cls != "bird":
            pool = ["brown", "white", "black", "orange", "brown", "white", "black", "orange", *pool]
        if self.level == "hard":
            return self.rng.choice(pool + used)
        free = [c for c in pool if c not in used and not any(frozenset((c, u)) in CONFUSABLE for u in used)]
        free = free or [c for c in pool if c not in used]
        return self.rng.choice(free or pool)


def _act(casting: _Casting, motion: str, rng: random.Random, subject: Actor | None = None, thing: Actor | None = None,
         recipient: bool = True) -> Act:  # fmt: skip
    verb: Verb = rng.choice(verbs(motion))
    if subject is None:
        kind = rng.choice(_SUBJECTS[motion])
        birds = motion in ("follow", "chase", "circle")
        subject = casting.person(motion in ("hand", "hug")) if kind == "P" else casting.animal(birds)
    if motion in _LIVING:
        kind = rng.choice(_LIVING[motion])
        target = casting.person(motion == "hug") if kind == "P" else casting.animal(birds=False)
        return Act(verb, subject.key, target.key)
    if thing is None:
        pool = _OBJECTS[motion]
        if KIND[subject.cls] == "animal" and motion in ("carry", "hold", "drop"):
            pool = _BY_MOUTH
        thing = casting.thing(rng.choice(pool))
    third, tool, catch = None, None, None
    if verb.recipient and recipient:
        third = (
            casting.person(motion == "hand") if motion == "hand" or rng.random() < 0.6 else casting.animal(False)
        ).key
        if motion == "throw" and rng.random() < 0.5:
            catch = verbs("catch")[0]
    if motion in ("push", "pull") and KIND[subject.cls] == "person" and rng.random() < 0.35:
        tool = casting.thing("stick" if motion == "push" else "rope").key
    return Act(verb, subject.key, thing.key, third, tool, catch)


def make_plot(rng: random.Random, level: Level, silent: bool = False) -> Plot:
    """Draw a plot. `silent` gives one whose caption states no interaction (nobody touches anybody)."""
    casting = _Casting(rng, level)
    roll = rng.random()
    acts: tuple[Act, ...]
    link: Link
    if silent:
        link, acts = "none", ()
        for _ in range(rng.randint(2, 3)):
            rng.choice((casting.person, casting.animal, lambda: casting.thing(rng.choice(THINGS))))()
        if not any(KIND[a.cls] in ("person", "animal") for a in casting.actors):
            casting.person()
    elif roll < 0.52:
        link, acts = "single", (_act(casting, rng.choice(SINGLE), rng),)
    elif roll < 0.72:
        one, two = rng.choice(THEN)
        first = _act(casting, one, rng, subject=casting.person(two == "hand"), recipient=False)
        first = Act(first.verb, first.subject, first.object)
        by = {a.key: a for a in casting.actors}
        second = _act(casting, two, rng, by[first.subject], by[first.object])
        link, acts = "then", (first, Act(second.verb, second.subject, second.object, second.recipient))
    elif roll < 0.86:
        one, two = rng.sample(WHILE, 2)
        link = "while"
        pair = [_act(casting, m, rng, recipient=False) for m in (one, two)]
        acts = tuple(Act(a.verb, a.subject, a.object) for a in pair)
    else:
        one, two = rng.choice(CHAIN)
        middle = casting.person()
        second = _act(casting, two, rng, subject=middle)
        kind = rng.choice(_SUBJECTS[one])
        leader = casting.person() if kind == "P" else casting.animal()
        first = Act(rng.choice(verbs(one)), leader.key, middle.key)
        link, acts = "chain", (first, Act(second.verb, second.subject, second.object))
    cast = tuple(casting.actors)
    if link in ("then", "while", "chain"):
        used = {k for a in acts for k in (a.subject, a.object, a.recipient) if k}
        casting.actors = [a for a in casting.actors if a.key in used]
        cast = tuple(casting.actors)
    return _with_extras(casting, cast, acts, link, rng)


def _with_extras(
    casting: _Casting, cast: tuple[Actor, ...], acts: tuple[Act, ...], link: Link, rng: random.Random
) -> Plot:
    """Fill up to 2–6 drawn instances; sometimes with a twin that only its place tells apart."""
    extras: list[tuple[Actor, str]] = []
    spoken: set[str] = set()
    total = min(max(rng.choice((2, 3, 3, 4, 4, 5, 6)), len(cast)), 6)
    hard = casting.level == "hard"
    if (
        link == "single"
        and total > len(cast)
        and acts[0].verb.motion in ("lift", "push", "kick")
        and rng.random() < 0.35
    ):
        mine = next(a for a in cast if a.key == acts[0].object)
        here = rng.choice(("left", "right"))
        there = "right" if here == "left" else "left"
        told = rng.random() < 0.6
        mine_now = Actor(mine.key, mine.cls, mine.colour, place=here, say_colour=told)
        twin = Actor("t0", mine.cls, mine.colour, place=there, say_colour=told)
        cast = tuple(mine_now if a.key == mine.key else a for a in cast)
        extras.append((twin, "twin"))
        spoken |= {"t0"} if rng.random() < 0.5 else set()
    living = [a for a in cast if KIND[a.cls] in ("person", "animal")]
    if hard and living and total > len(cast) + len(extras) and rng.random() < 0.6:
        like = rng.choice(living)
        extras.append((Actor("d0", like.cls, like.colour, garment=like.garment, worn=like.worn), "crosses"))
    while len(cast) + len(extras) < total:
        before = list(casting.actors)
        roll = rng.random()
        if roll < 0.35:
            actor = casting.person()
            does = rng.choice(("waves", "crosses", "crosses", "stands"))
        elif roll < 0.55:
            actor, does = casting.animal(), rng.choice(("stands", "crosses"))
        else:
            actor, does = casting.thing(rng.choice(THINGS)), "stands"
        if not hard and any(a.cls == actor.cls and _alike(a, actor) for a in (*cast, *before)):
            continue
        actor = Actor(f"e{len(extras)}", actor.cls, actor.colour, actor.adjective, actor.garment, actor.worn)
        if rng.random() < 0.3:
            spoken.add(actor.key)
        extras.append((actor, does))
    cast = tuple(_maybe_colourless(a, cast, extras, rng) for a in cast)
    return Plot(cast, acts, link, tuple(extras), frozenset(spoken))


def _alike(a: Actor, b: Actor) -> bool:
    """Whether two of one class could be taken for each other by the words that tell them apart."""
    return bool(a.place) or a.colour == b.colour or frozenset((a.colour, b.colour)) in CONFUSABLE


def _maybe_colourless(
    actor: Actor, cast: tuple[Actor, ...], extras: list[tuple[Actor, str]], rng: random.Random
) -> Actor:
    """Where nothing else of its kind is drawn, the class alone may do."""
    alike = [a for a in (*cast, *(e for e, _ in extras)) if KIND[a.cls] == KIND[actor.cls] and a.key != actor.key]
    if alike or actor.place or rng.random() > 0.12:
        return actor
    return Actor(actor.key, actor.cls, actor.colour, actor.adjective, actor.garment, actor.worn, "", False)
