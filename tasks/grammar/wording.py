"""The words of a text without its marks: what two wordings of one thing share."""

import re
import unicodedata
from dataclasses import dataclass

from tasks.grammar import nouns
from tasks.grammar.verbs import BE, DO, HAVE

LITTLE = (
    nouns.DETERMINERS | nouns.POSSESSIVES | nouns.SUBJECT_PRONOUNS | nouns.OBJECT_PRONOUNS | nouns.PREPOSITIONS
    | nouns.CONJUNCTIONS | nouns.RELATIVES | BE | HAVE | DO
) - nouns.NEGATIONS  # fmt: skip
"""Words that say little by themselves."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Word:
    """`text[start:end]`, and its folded form: compatibility forms, case and apostrophes are levelled."""

    low: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of a text in order, without marks, dashes and spaces."""
    return [Word(_folded(m.group()), m.start(), m.end()) for m in _WORD.finditer(text)]


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold().replace("’", "'")
