"""The vocabulary of the world: who may be drawn, in which colours, and which verbs join them.

A verb here is a lexical entry with its inflections. Several verbs may name one *motion* (`tasks/world/motions/`):
"drag" and "pull" look alike.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["person", "animal", "thing", "instrument"]

PEOPLE = ("person", "man", "woman", "boy", "girl")
ANIMALS = ("dog", "cat", "bird")
THINGS = ("ball", "box", "cup", "book", "bottle")
INSTRUMENTS = ("stick", "rope")

KIND: dict[str, Kind] = {
    **dict.fromkeys(PEOPLE, "person"),
    **dict.fromkeys(ANIMALS, "animal"),
    **dict.fromkeys(THINGS, "thing"),
    **dict.fromkeys(INSTRUMENTS, "instrument"),
}

PRONOUNS: dict[str, tuple[str, str, str]] = {
    "man": ("he", "him", "his"),
    "boy": ("he", "him", "his"),
    "woman": ("she", "her", "her"),
    "girl": ("she", "her", "her"),
}
"""Subjective, objective, possessive. A class that is not listed takes "it", or "their" where it is a person."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (206, 32, 40),
    "orange": (240, 130, 24),
    "yellow": (240, 214, 40),
    "green": (36, 150, 62),
    "blue": (34, 76, 204),
    "purple": (124, 44, 158),
    "pink": (246, 128, 180),
    "brown": (124, 74, 36),
    "white": (240, 240, 238),
    "black": (28, 28, 32),
}
"""Main colours as RGB. A drawn thing may lie a little off; `hard` also pulls them towards the background."""

CONFUSABLE: frozenset[frozenset[str]] = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        "red/orange", "red/pink", "red/brown", "orange/yellow", "orange/brown", "blue/purple", "purple/pink",
        "brown/black", "purple/black", "pink/white",
    )
)  # fmt: skip
"""Pairs that a person may mix up at a glance. `plain` never tells two mentioned instances apart by such a pair."""

GARMENTS = ("shirt", "jacket", "sweater", "coat", "T-shirt", "hoodie")
PERSON_WORDS = ("young", "tall", "slim")
ANIMAL_WORDS = ("small", "lively", "fluffy")
THING_WORDS = ("small", "plain", "shiny", "large")
PLACES = {"left": "on the left", "right": "on the right"}


@dataclass(frozen=True)
class Verb:
    """One verb with the forms a caption needs, what it looks like, and how it rates (paper App. A.1, turn 3)."""

    base: str
    third: str
    gerund: str
    participle: str
    motion: str
    contact: int
    """Contactness 1 none · 3 indirect · 5 direct and firm, between subject and object."""
    dynamism: int
    """1 static · 3 moderate · 5 strong."""
    particle: str = ""
    """Belongs to the verb and may follow the object: "picks the box *up*"."""
    preposition: str = ""
    """Stands before the object and belongs to the verb: "bumps *into* a man"."""
    recipient: bool = False
    """Takes a third party: "throws a ball to a dog", "hands the woman a cup"."""
    dative: bool = False
    """The third party may come first: "hands the woman a cup"."""

    @property
    def lemma(self) -> str:
        return " ".join(part for part in (self.base, self.particle, self.preposition) if part)


def _verb(forms: str, motion: str, contact: int, dynamism: int, **more: str | bool) -> Verb:
    base, third, gerund, participle = forms.split()
    return Verb(base, third, gerund, participle, motion, contact, dynamism, **more)  # type: ignore[arg-type]


VERBS: tuple[Verb, ...] = (
    _verb("push pushes pushing pushed", "push", 5, 4),
    _verb("shove shoves shoving shoved", "push", 5, 5),
    _verb("pull pulls pulling pulled", "pull", 5, 4),
    _verb("drag drags dragging dragged", "pull", 5, 4),
    _verb("lift lifts lifting lifted", "lift", 5, 4),
    _verb("lift lifts lifting lifted", "lift", 5, 4, particle="up"),
    _verb("pick picks picking picked", "lift", 5, 4, particle="up"),
    _verb("raise raises raising raised", "lift", 5, 4),
    _verb("carry carries carrying carried", "carry", 5, 3),
    _verb("hold holds holding held", "hold", 5, 2),
    _verb("drop drops dropping dropped", "drop", 4, 4),
    _verb("put puts putting put", "put", 5, 3, particle="down"),
    _verb("set sets setting set", "put", 5, 3, particle="down"),
    _verb("kick kicks kicking kicked", "kick", 5, 5),
    _verb("throw throws throwing thrown", "throw", 4, 5, recipient=True, dative=True),
    _verb("toss tosses tossing tossed", "throw", 4, 5, recipient=True, dative=True),
    _verb("hand hands handing handed", "hand", 5, 3, recipient=True, dative=True),
    _verb("pass passes passing passed", "hand", 5, 3, recipient=True, dative=True),
    _verb("give gives giving given", "hand", 5, 3, recipient=True, dative=True),
    _verb("follow follows following followed", "follow", 1, 3),
    _verb("walk walks walking walked", "follow", 1, 3, preposition="behind"),
    _verb("chase chases chasing chased", "chase", 1, 5),
    _verb("run runs running run", "chase", 1, 5, preposition="after"),
    _verb("bump bumps bumping bumped", "bump", 5, 4, preposition="into"),
    _verb("collide collides colliding collided", "bump", 5, 5, preposition="with"),
    _verb("circle circles circling circled", "circle", 1, 3),
    _verb("walk walks walking walked", "circle", 1, 3, preposition="around"),
    _verb("run runs running run", "circle", 1, 4, preposition="around"),
    _verb("pet pets petting petted", "pet", 5, 2),
    _verb("stroke strokes stroking stroked", "pet", 5, 2),
    _verb("hug hugs hugging hugged", "hug", 5, 3),
    _verb("catch catches catching caught", "catch", 5, 4),
    _verb("use uses using used", "use", 5, 3),
)

TO_RATING: dict[str, tuple[int, int]] = {"throw": (3, 4), "hand": (4, 3)}
"""Contact and dynamism between the giver and the third party, by motion: a throw touches nobody, a hand-over nearly."""

WITH_RATING: tuple[int, int] = (5, 3)
"""Contact and dynamism between a person and the instrument in their hand."""

THROUGH_CONTACT = 3
"""Contactness of a person and what they move by an instrument: indirect."""


def verbs(motion: str) -> tuple[Verb, ...]:
    """The verbs that name a motion, in a fixed order."""
    return tuple(verb for verb in VERBS if verb.motion == motion)


def pronoun(cls: str, case: Literal["subject", "object", "possessive"]) -> str:
    """The pronoun for a class; "they" for a person whose gender the caption does not say."""
    if cls in PRONOUNS:
        return PRONOUNS[cls][("subject", "object", "possessive").index(case)]
    if cls == "person":
        return {"subject": "they", "object": "them", "possessive": "their"}[case]
    return {"subject": "it", "object": "it", "possessive": "its"}[case]
