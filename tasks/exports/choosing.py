"""Which samples of a dataset are meant: `--filter "verb=hold ids<=3"`, read into one test of an index row.

Terms stand side by side and all must hold. A term is a field, a sign and a value; values with spaces stand in quotes,
and `=`, `!=` and `~` take several, separated by commas, of which one must fit. Nothing of the text is ever evaluated.
"""

import operator
import re
import shlex
from collections.abc import Callable, Sequence
from functools import cache

from schemas.dataset import IndexRow
from tasks.errors import UserError
from tasks.grammar.verbs import guess_lemmas, verb_forms
from tasks.report.stats import bare

Test = Callable[[IndexRow], bool]

WORDS: dict[str, Callable[[IndexRow], Sequence[str]]] = {
    "noun": lambda row: row.nouns,
    "split": lambda row: (row.split,),
    "source": lambda row: (row.dataset,),
    "license": lambda row: (row.license or "none",),
    "key": lambda row: (row.key,),
    "group": lambda row: (row.group,),
    "uri": lambda row: (row.uri,),
    "text": lambda row: (row.caption,),
    "verb": lambda row: tuple(map(bare, row.verbs)),
}
NUMBERS: dict[str, Callable[[IndexRow], Sequence[float]]] = {
    "ids": lambda row: (row.instances,),
    "interactions": lambda row: (row.interactions,),
    "contact": lambda row: row.contact,
    "dynamism": lambda row: row.dynamism,
    "side": lambda row: row.sides,
    "frames": lambda row: (row.frames,),
    "width": lambda row: (row.width,),
    "height": lambda row: (row.height,),
    "fps": lambda row: (row.fps,),
}
"""Of a field with several values in a sample (a contact per interaction, a side per track) one must fit."""

_TERM = re.compile(r"([a-z]+)(<=|>=|!=|=|<|>|~)(.+)", re.DOTALL)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip


def read_filter(text: str) -> Test:
    """The test that a filter means; an empty one lets everything through. UserError says which term cannot be read."""
    try:
        terms = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--filter: {str(error).lower()}: every quote needs its second") from None
    tests = [_term(term) for term in terms]
    return lambda row: all(test(row) for test in tests)


def _term(term: str) -> Test:
    found = _TERM.fullmatch(term)
    if not found or found[1] not in WORDS | NUMBERS:
        fields = ", ".join((*WORDS, *NUMBERS))
        raise UserError(
            f"--filter {term!r}: write FIELD=VALUE (signs = != < <= > >= ~), where FIELD is one of {fields}"
        )
    field, sign, value = found.groups()
    values = [part.strip() for part in value.split(",")]
    if not all(values):
        raise UserError(f"--filter {term!r}: a value is empty")
    if sign == "!=":
        same = _term(f"{field}={value}")
        return lambda row: not same(row)
    return _of_words(term, field, sign, values) if field in WORDS else _of_numbers(term, field, sign, values)


def _of_words(term: str, field: str, sign: str, values: list[str]) -> Test:
    if sign not in ("=", "~"):
        raise UserError(f"--filter {term!r}: {field} is compared with =, != or ~ (contains)")
    lowered = [value.lower() for value in values]

    def fits(there: str) -> bool:
        low = there.lower()
        if sign == "~":
            return any(value in low for value in lowered)
        return any(means(value, low) if field == "verb" else value == low for value in lowered)

    return lambda row: any(map(fits, WORDS[field](row)))


def _of_numbers(term: str, field: str, sign: str, values: list[str]) -> Test:
    if sign == "~" or (sign != "=" and len(values) > 1):
        raise UserError(f"--filter {term!r}: {field} is a number: one of = != < <= > >=, several values with = and !=")
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        raise UserError(f"--filter {term!r}: {field} is a number") from None
    return lambda row: any(_SIGNS[sign](there, number) for there in NUMBERS[field](row) for number in numbers)


def means(asked: str, verb: str) -> bool:
    """Whether a surface verb is a form of the one asked for: "hold" means "holds", "is holding" and "holds up"."""
    words, there = bare(asked).split(), bare(verb).split()
    return len(words) <= len(there) and all(_bases(a) & _bases(b) for a, b in zip(words, there, strict=False))


@cache
def _bases(word: str) -> frozenset[str]:
    """A lower-case word and the base forms that it may have as a verb: those of the lexicon, else by its ending."""
    known = {lemma for lemma, _ in verb_forms(word)}
    return frozenset({word} | (known or guess_lemmas(word)))
