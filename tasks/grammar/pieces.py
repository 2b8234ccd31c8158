"""The pieces that clauses are made of: noun phrases, verb groups, and the small words between them."""

from dataclasses import dataclass

from tasks.grammar import nouns
from tasks.grammar.tagging import Form, Tag
from tasks.grammar.tokens import Token


@dataclass(frozen=True)
class Phrase:
    """A noun phrase or pronoun at `caption[start:end]`, without its article."""

    start: int
    end: int
    head: str
    """Singular and lower case; the pronoun itself; "" for "the other"."""
    determiner: str = ""
    modifiers: tuple[str, ...] = ()
    """Words before the head."""
    plural: bool = False
    pronoun: bool = False
    worn: tuple[tuple[str, frozenset[str]], ...] = ()
    """Garments and hair that set the referent apart, each with its adjectives; garment "" for "in red"."""
    places: frozenset[str] = frozenset()

    @property
    def living(self) -> bool:
        return nouns.is_living(self.head)

    @property
    def colours(self) -> frozenset[str]:
        return frozenset(self.modifiers) & nouns.COLOURS

    @property
    def target(self) -> bool:
        """Whether it can be acted on: no body part, no scenery, no abstraction, not oneself."""
        if self.pronoun:
            return self.head not in nouns.REFLEXIVES
        return self.head not in nouns.NON_TARGETS or nouns.is_living(self.head)


@dataclass(frozen=True)
class VerbGroup:
    """Auxiliaries and head verb."""

    tokens: tuple[Token, ...]
    lemma: str
    form: Form
    """Of the head verb; "base" with `infinitive` for "to push"."""
    finite: bool
    passive: bool = False
    infinitive: bool = False
    negated: bool = False
    modal: bool = False


@dataclass(frozen=True)
class Mark:
    """Any other word that shapes a clause."""

    tag: Tag
    token: Token

    @property
    def low(self) -> str:
        return self.token.low


Piece = Phrase | VerbGroup | Mark
