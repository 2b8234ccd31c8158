"""No example of the instructions passes for an answer: weak models give them back word for word.

The examples are read out of the prompt file itself: what stands in double quotes, and every clause, as far as it says
enough. A text of a reply repeats one if it holds all its words in a row, or if a sentence of it is nearly the same
(difflib's ratio over the words, or over those that say something, of at least `NEARLY`). It is fine all the same where
what they have in common stands in the document of the question: then the caption says so too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from tasks.engines.replies import Part
from tasks.grammar.nouns import singular
from tasks.grammar.verbs import guess_lemmas
from tasks.grammar.wording import LITTLE, words_of

NEARLY = 0.85

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
_ENDS = re.compile(r"[.:;!?·\n]+(?=\s|$)|\s-\s|\n\n")
_QUOTED_LEAST, _CLAUSE_LEAST = 2, 3
"""Words that say something, from which a quoted text and a clause count: "man" is a proper answer, whoever said it."""


@dataclass(frozen=True)
class _Text:
    """A text in words: all of them, those that say something, and each of these once."""

    text: str
    words: tuple[str, ...]
    telling: tuple[str, ...]
    kinds: frozenset[str]


def _read(text: str) -> _Text:
    words = tuple(word.low for word in words_of(text))
    telling = tuple(word for word in words if word not in LITTLE)
    return _Text(" ".join(text.split()), words, telling, frozenset(telling))


@lru_cache(maxsize=64)
def examples_of(prompt: str) -> tuple[_Text, ...]:
    """What of the instructions could be taken for an answer."""
    quoted = [_read(one or other) for one, other in _QUOTED.findall(prompt)]
    clauses = [_read(clause) for clause in _ENDS.split(re.sub(r"(?<=\S)\n(?=\S)", " ", prompt)) if clause]
    found = [q for q in quoted if len(q.telling) >= _QUOTED_LEAST]
    return tuple(dict.fromkeys([*found, *(c for c in clauses if len(c.telling) >= _CLAUSE_LEAST)]))


def no_example(reply: Part, prompt: str, document: Mapping[str, Any]) -> None:
    """ValueError, with a message for the model, where a text of the reply is an example of the prompt, or no words."""
    known: frozenset[str] | None = None
    for name, text in reply.prose():
        if text.strip() and not words_of(text):
            raise ValueError(f"{name} is {text.strip()[:80]!r}, which says nothing: give your own words")
        for sentence in (_read(s) for s in dict.fromkeys((text, *_ENDS.split(text)))):
            for example in examples_of(prompt):
                repeated = _repeated(sentence, example)
                if not repeated:
                    continue
                known = _stems(_strings(document)) if known is None else known
                if not all(_stem(word) & known for word in repeated):
                    raise ValueError(
                        f"{name} repeats an example of the instructions, {example.text[:120]!r}: say what is so here"
                    )


def _repeated(said: _Text, example: _Text) -> frozenset[str]:
    """The telling words that a sentence has of an example that it repeats; none where it repeats none."""
    common = said.kinds & example.kinds
    if len(common) < max(1, NEARLY * len(example.kinds) - 1):
        return frozenset()
    pairs = ((said.words, example.words), (said.telling, example.telling))
    return common if _holds(said.words, example.words) or any(_alike(*pair) for pair in pairs) else frozenset()


def _holds(words: Sequence[str], row: Sequence[str]) -> bool:
    return any(words[i : i + len(row)] == row for i in range(len(words) - len(row) + 1))


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= NEARLY


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _stems(texts: Iterator[str]) -> frozenset[str]:
    return frozenset(stem for text in texts for word in words_of(text) for stem in _stem(word.low))


def _stem(word: str) -> frozenset[str]:
    """Forms that a word shares with others of it: 'pushed' and 'pushes', 'men' and 'man'."""
    return guess_lemmas(word) | {word, singular(word)}
