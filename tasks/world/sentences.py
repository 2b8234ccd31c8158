"""Sentence patterns, in the markup of `tasks/world/captions.py`."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.world.acts import Act, Link
from tasks.world.phrases import Actor
from tasks.world.words import KIND, Verb, pronoun


@dataclass(frozen=True)
class Mark:
    """Which act's triplets a sentence states, from which digit on, and whether an instrument is said by "with"."""

    act: int
    base: int
    with_form: bool = False


@dataclass(frozen=True)
class Marks:
    """One or two sentences with their roles and the triplets they state."""

    lines: tuple[str, ...]
    roles: dict[str, str]
    marks: tuple[Mark, ...]


_OPENERS = {
    "room": ("in a quiet room", "in a bright hall", "on a wooden floor", "in the corner of a studio"),
    "park": ("in a quiet park", "on a sunny meadow", "on a gravel path", "outdoors on a calm day"),
    "street": ("on a wide square", "in a narrow street", "on a paved courtyard", "in front of an old wall"),
}
_SCENERY = {
    "room": ("The room is lit by a soft lamp", "Pale curtains hang at the back", "The walls are gray and bare",
             "Light falls through a window"),
    "park": ("Clouds drift over the park", "The grass is short and dry", "A light breeze pushes the clouds along",
             "Trees stand in the distance", "Fallen leaves cover the ground"),
    "street": ("The pavement is gray and worn", "Late sun warms the wall", "The street is calm and nearly empty",
               "Shadows move slowly across the stones"),
}  # fmt: skip
_CAMERA = (
    "The camera drifts slowly to one side", "The shot is slightly grainy", "The view stays wide throughout",
    "The scene is filmed from a fixed height", "The light changes a little over time",
)  # fmt: skip
_SELF = {
    "person": ("{x~s} looks happy", "{x~s} seems calm and relaxed", "{x~s} stands still for a moment",
               "{x~s} wears a friendly expression", "{x~s} appears to be thinking", "{x~s} stretches HIS arms",
               "{x~s} waves", "{x~s} takes a few steps", "{x~s} wants to rest soon"),
    "animal": ("{x} seems curious", "{x} looks alert", "{x} walks around calmly", "{x} stretches itself",
               "{x} wags its tail", "{x} appears to be tired"),
    "thing": ("{x} looks new", "{x} has a smooth surface", "{x} catches the light", "{x} seems light"),
}  # fmt: skip
_ADVERBS = ("slowly", "calmly", "carefully", "quickly", "gently")
_ACROSS = {"push", "pull", "carry", "follow", "chase"}
_BY_HAND = {"lift", "carry", "hold", "push"}


def scenery(rng: random.Random, setting: str) -> str:
    """A place to open a sentence with: "in a quiet park"."""
    return rng.choice(_OPENERS[setting])


def camera_sentences() -> tuple[str, ...]:
    """Sentences whose subject is no living being although their verb takes an object."""
    return ("The camera follows {x}", "The light hits {x} from the side", "The lens keeps {x} in view")


def side_sentences(rng: random.Random, setting: str) -> tuple[list[str], list[str]]:
    """Sentences about place, weather and camera that go before and after the acts."""
    before = [rng.choice(_SCENERY[setting])] if rng.random() < 0.3 else []
    after = [rng.choice(_CAMERA)] if rng.random() < 0.35 else []
    return before, after


def plain_sentences(rng: random.Random, cast: Sequence[Actor], count: int) -> list[tuple[str, str]]:
    """Self-directed acts and states of the cast, as (markup with `{x}`, key). None of them is an interaction."""
    out = []
    pool = list(cast)
    rng.shuffle(pool)
    for actor in (pool * count)[:count]:
        kind = KIND[actor.cls] if KIND[actor.cls] in _SELF else "thing"
        line = rng.choice(_SELF[kind])
        out.append((line.replace("HIS", pronoun(actor.cls, "possessive")), actor.key))
    return out


def _phrase(n: str, text: str, verb: Verb, obj: str, rng: random.Random) -> str:
    """Verb and object; the particle stands on either side of a noun, and after a pronoun."""
    if verb.preposition:
        return f"[{n}:{text} {verb.preposition}] {obj}"
    if verb.particle:
        if "!" in obj or "~" in obj or rng.random() < 0.5:
            return f"[{n}:{text}] {obj} [{n}:{verb.particle}]"
        return f"[{n}:{text} {verb.particle}] {obj}"
    return f"[{n}:{text}] {obj}"


def _finite(n: str, verb: Verb, obj: str, rng: random.Random) -> str:
    """A finite verb phrase in the active: simple or progressive, with or without an adverb."""
    roll, adverb = rng.random(), rng.choice(_ADVERBS)
    if roll < 0.5:
        return _phrase(n, verb.third, verb, obj, rng)
    if roll < 0.6:
        return f"{adverb} " + _phrase(n, verb.third, verb, obj, rng)
    if roll < 0.9:
        return _phrase(n, f"is {verb.gerund}", verb, obj, rng)
    return f"[{n}:is] {adverb} " + _phrase(n, verb.gerund, verb, obj, rng)


def _passive(n: str, verb: Verb, rng: random.Random) -> str:
    """A finite verb phrase in the passive, without the agent."""
    done = f"{verb.participle} {verb.particle}".strip()
    roll = rng.random()
    if roll < 0.5:
        return f"[{n}:is {done}]"
    return f"[{n}:is being {done}]" if roll < 0.85 else f"[{n}:is] {rng.choice(_ADVERBS)} [{n}:{done}]"


def _tail(act: Act, cast: Mapping[str, Actor], rng: random.Random) -> str:
    motion = act.verb.motion
    if motion in _ACROSS and rng.random() < 0.35:
        return rng.choice((" across the floor", " across the scene", " for a while"))
    if motion in _BY_HAND and KIND[cast[act.subject].cls] == "person" and rng.random() < 0.2:
        return rng.choice((" with both hands", " with great care", " with a smile"))
    return ""


def _single(act: Act, cast: Mapping[str, Actor], rng: random.Random) -> str:
    v, roll = act.verb, rng.random()
    if act.instrument:
        return _instrument(act, rng)
    if act.recipient:
        return _ditransitive(act, rng)
    tail = _tail(act, cast, rng)
    if roll < 0.3 and not v.preposition:
        return "{o} " + _passive("0", v, rng) + " by {s}" + tail
    if roll < 0.42:
        lead = rng.choice(("there is {s} ", "the video shows {s} ", "{s} can be seen "))
        return lead + _phrase("0", v.gerund, v, "{o}", rng) + tail
    return "{s} " + _finite("0", v, "{o}", rng) + tail


def _ditransitive(act: Act, rng: random.Random) -> str:
    v, roll = act.verb, rng.random()
    form = v.third if rng.random() < 0.6 else f"is {v.gerund}"
    if roll < 0.2:
        line = f"{{o}} [01:is {v.participle}] [1:to] {{r}} by {{s}}"
    elif roll < 0.45 and v.dative:
        line = f"{{s}} [01:{form}] {{r}} {{o}}"
    else:
        line = f"{{s}} [01:{form}] {{o}} [1:to] {{r}}"
    if act.catch:
        line += ", and {r~s} " + _phrase("2", act.catch.third, act.catch, "{o!o}", rng)
    return line


def _instrument(act: Act, rng: random.Random) -> str:
    v = act.verb
    return rng.choice((
        f"{{s}} [0:uses] {{i}} to [1:{v.base}] {{o}}",
        f"{{s}} [0:is using] {{i}} to [1:{v.base}] {{o}}",
        f"{{s}} [01:{v.third}] {{o}} [0:with] {{i}}",
        f"{{s}} [01:is {v.gerund}] {{o}} [0:with] {{i}}",
        f"[0:using] {{i}}, {{s}} [1:{v.third}] {{o}}",
        f"{{o}} [1:is {v.participle}] by {{s}} [0:using] {{i}}",
    ))  # fmt: skip


def _relative(actor: Actor) -> str:
    return "who" if KIND[actor.cls] == "person" else "that"


def sentences_for(
    acts: Sequence[Act], link: Link, cast: Mapping[str, Actor], rng: random.Random, place: str
) -> list[Marks]:
    """The sentences that state the acts. Raises ValueError when the number of acts does not fit the link."""
    if len(acts) != (1 if link == "single" else 2):
        raise ValueError(f"{len(acts)} acts cannot be linked by {link!r}")
    first = acts[0]
    roles = {"s": first.subject, "o": first.object}
    roles |= {"r": first.recipient} if first.recipient else {}
    roles |= {"i": first.instrument} if first.instrument else {}
    if link == "single":
        line = _single(first, cast, rng)
        if rng.random() < 0.35 and line.startswith("{"):
            line = f"{place}, {line}"
        return [Marks((line,), roles, (Mark(0, 0, "[0:with]" in line),))]
    second = acts[1]
    marks = (Mark(0, 0), Mark(1, 3))
    roles |= {"S": second.subject, "O": second.object} | ({"R": second.recipient} if second.recipient else {})
    if link == "while":
        lines = _while(first, second, rng)
    else:
        lines = (_then if link == "then" else _chain)(first, second, cast, rng)
    if rng.random() < 0.25 and lines[0].startswith("{"):
        lines = (f"{place}, {lines[0]}", *lines[1:])
    return [Marks(lines, roles, marks)]


def _then(a: Act, b: Act, cast: Mapping[str, Actor], rng: random.Random) -> tuple[str, ...]:
    """One subject does two things to one object."""
    roll = rng.random()
    again = "{O!o}" if b.object == a.object else "{O}"
    to = " [4:to] {R}" if b.recipient else ""
    mark = "34" if b.recipient else "3"
    did = "{s} " + _phrase("0", a.verb.third, a.verb, "{o}", rng)
    next_ = _phrase(mark, b.verb.third, b.verb, again, rng) + to
    if roll < 0.3:
        return (f"{did} and {next_}",)
    if roll < 0.5:
        return (f"{did}, then {next_}",)
    if roll < 0.65:
        return (f"{did} before " + _phrase(mark, b.verb.gerund, b.verb, again, rng) + to,)
    if roll < 0.8 and not a.verb.preposition:
        who = _relative(cast[a.subject])
        return ("{o} " + _passive("0", a.verb, rng) + f" by {{s}}, {who} then {next_}",)
    return ("{s} " + _finite("0", a.verb, "{o}", rng), "then {S~s} " + next_)


def _while(a: Act, b: Act, rng: random.Random) -> tuple[str, ...]:
    """Two pairs side by side."""
    one = "{s} " + _finite("0", a.verb, "{o}", rng)
    two = "{S} " + _finite("3", b.verb, "{O}", rng)
    if rng.random() < 0.2 and not b.verb.preposition:
        two = "{O} " + _passive("3", b.verb, rng) + " by {S}"
    roll = rng.random()
    if roll < 0.35:
        return (f"{one} while {two}",)
    if roll < 0.5:
        return (f"while {one}, {two}",)
    if roll < 0.7:
        return (f"{one}, and {two}",)
    return (one, rng.choice(("meanwhile, ", "at the same time, ", "nearby, ")) + two)


def _chain(a: Act, b: Act, cast: Mapping[str, Actor], rng: random.Random) -> tuple[str, ...]:
    """The object of the first act is the subject of the second: "a dog follows a man who carries a cup"."""
    who, roll = _relative(cast[b.subject]), rng.random()
    main = "{s} " + _finite("0", a.verb, "{o}", rng)
    if roll < 0.3:
        return (f"{main}, {who} " + _phrase("3", b.verb.third, b.verb, "{O}", rng),) if who == "who" else (
            f"{main} {who} " + _phrase("3", b.verb.third, b.verb, "{O}", rng),)  # fmt: skip
    if roll < 0.5:
        return (f"{main} " + _phrase("3", b.verb.gerund, b.verb, "{O}", rng),)
    if roll < 0.65 and not a.verb.preposition:
        return (f"{{S}}, [0:{a.verb.participle}] by {{s}}, " + _phrase("3", b.verb.third, b.verb, "{O}", rng),)
    later = "{s} " + _finite("0", a.verb, "{o~o}", rng)
    return ("{S} " + _finite("3", b.verb, "{O}", rng) + rng.choice((", and ", " while ")) + later,)
