"""Which noun phrases and pronouns mean the same: "a man in red … the man … he … the other man"."""

from dataclasses import dataclass, field

from tasks.grammar import nouns
from tasks.grammar.pieces import Phrase

INDEFINITE = frozenset({"a", "an", "another", "some", "one", "two", "three", "several", "many", "each", "every"})
_SINGULAR_PERSON = frozenset({"he", "him", "she", "her"})
_PLURAL = frozenset({"they", "them", "these", "those"})
_THING = frozenset({"it", "this", "that"})


@dataclass(eq=False)
class Entity:
    """One person, animal or thing (or one group of them) of the caption."""

    head: str
    plural: bool
    mentions: list[Phrase] = field(default_factory=list)
    """By nouns, in reading order."""
    colours: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    worn: dict[str, set[str]] = field(default_factory=dict)
    places: set[str] = field(default_factory=set)
    seen: int = 0
    """Running number of the latest mention, pronouns included."""
    weight: float = 0.0
    """How prominent the latest mention was: subjects and objects lead prepositional phrases."""
    was_object: int = -1
    was_subject: int = -1

    def learn(self, phrase: Phrase) -> None:
        self.mentions.append(phrase)
        self.colours |= phrase.colours
        self.words |= set(phrase.modifiers)
        self.places |= phrase.places
        for garment, words in phrase.worn:
            self.worn.setdefault(garment, set()).update(words)

    @property
    def living(self) -> bool:
        return nouns.is_living(self.head)

    def fits(self, phrase: Phrase) -> int | None:
        """How many attributes a definite phrase shares with this entity; None where they contradict."""
        same = self.head == phrase.head
        wider = self.head in nouns.HYPERNYMS.get(phrase.head, ()) or phrase.head in nouns.HYPERNYMS.get(self.head, ())
        if not (same or wider) or self.plural != phrase.plural:
            return None
        shared = 2 * same
        for mine, its in ((self.colours, phrase.colours), (self.places, phrase.places)):
            if mine and its and not mine & its:
                return None
            shared += 3 * len(mine & its) - 2 * bool(its - mine)
        for garment, words in phrase.worn:
            colours = words & nouns.COLOURS
            worn = set().union(*self.worn.values()) if not garment else self.worn.get(garment, self.worn.get("", set()))
            if colours and worn & nouns.COLOURS and not colours & worn:
                return None
            shared += 3 * len(colours & worn) + (garment in self.worn) - 2 * bool(colours - worn)
        return shared + len(self.words & set(phrase.modifiers) - nouns.COLOURS)


class Entities:
    """The entities met so far; `resolve` is called for every phrase in reading order."""

    def __init__(self) -> None:
        self.all: list[Entity] = []
        self.clock = 0
        self.of: dict[int, Entity] = {}
        """Start of a phrase → its entity."""

    def resolve(self, phrase: Phrase, role: str, rivals: set[int]) -> None:
        """Find or make the entity of `phrase`. `role` is subject, object or other.

        `rivals` are the starts of phrases that act together with it, so that they cannot be the same.
        """
        self.clock += 1
        taken = [self.of[start] for start in sorted(rivals) if start in self.of]
        entity = self._pronoun(phrase, role, taken) if phrase.pronoun else self._noun(phrase, taken)
        if entity is None:
            return
        if not phrase.pronoun:
            entity.learn(phrase)
        entity.seen = self.clock
        entity.weight = 1.0 if role in ("subject", "object") else 0.0
        if role == "subject":
            entity.was_subject = self.clock
        elif role == "object":
            entity.was_object = self.clock
        self.of[phrase.start] = entity

    def _new(self, phrase: Phrase, head: str | None = None) -> Entity:
        entity = Entity(head=head or phrase.head, plural=phrase.plural)
        self.all.append(entity)
        return entity

    def _noun(self, phrase: Phrase, taken: list[Entity]) -> Entity:
        determiner = phrase.determiner.split(" ")[0] if phrase.determiner else ""
        other = "other" in phrase.modifiers or "other" in phrase.determiner.split() or "second" in phrase.modifiers
        if not phrase.head:
            return self._elided(phrase, taken, other)
        if determiner in INDEFINITE and not (determiner == "one" and other):
            return self._new(phrase)
        ranked = [(e.fits(phrase), e) for e in self.all if e not in taken]
        fitting = [(shared, e) for shared, e in ranked if shared is not None]
        if other and not taken:
            latest = max((e for _, e in fitting), key=lambda e: e.seen, default=None)
            fitting = [(shared, e) for shared, e in fitting if e is not latest]
        if not fitting:
            return self._new(phrase)
        shared, best = max(fitting, key=lambda pair: (pair[0], pair[1].seen))
        return best if shared >= 0 else self._new(phrase)

    def _elided(self, phrase: Phrase, taken: list[Entity], other: bool) -> Entity:
        """ "the other", "another", "one": of the class that was named last."""
        model = taken[-1] if taken else max(self.all, key=lambda e: e.seen, default=None)
        if model is None:
            return self._new(phrase, "one")
        if other and not phrase.determiner.startswith("another"):
            same = [e for e in self.all if e.head == model.head and e is not model and e not in taken]
            if same:
                return max(same, key=lambda e: e.seen)
        return self._new(phrase, model.head)

    def _pronoun(self, phrase: Phrase, role: str, taken: list[Entity]) -> Entity | None:
        if phrase.head in nouns.REFLEXIVES:
            return None
        candidates = [e for e in self.all if e not in taken and self._agrees(e, phrase.head)]
        if not candidates:
            return None

        def rank(entity: Entity) -> float:
            parallel = {"subject": entity.was_subject, "object": entity.was_object}.get(role, -1)
            gendered = phrase.head in _SINGULAR_PERSON and entity.head in nouns.MASCULINE | nouns.FEMININE
            number = phrase.head in _PLURAL and entity.plural
            target = entity.head not in nouns.NON_TARGETS
            recent = entity.seen - self.clock
            return recent + 3.0 * (parallel > self.clock - 8) + 2.0 * entity.weight + 20.0 * (gendered or number) + (
                30.0 * target)  # fmt: skip

        return max(candidates, key=rank)

    @staticmethod
    def _agrees(entity: Entity, pronoun: str) -> bool:
        person = nouns.is_living(entity.head) and entity.head not in nouns.ANIMALS
        if pronoun in ("he", "him"):
            return person and not entity.plural and entity.head not in nouns.FEMININE
        if pronoun in ("she", "her"):
            return person and not entity.plural and entity.head not in nouns.MASCULINE
        if pronoun in _THING:
            return not person and not entity.plural
        if pronoun in _PLURAL:
            return entity.plural or (person and entity.head not in nouns.MASCULINE | nouns.FEMININE)
        return False
