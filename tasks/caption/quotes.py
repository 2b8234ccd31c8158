"""Where a quote stands in the caption: as it is, as the same words in another dress, or as the nearest sentence."""

import re
from difflib import SequenceMatcher

from schemas import Span
from tasks.grammar.nouns import NEGATIONS
from tasks.grammar.tokens import sentence_ranges
from tasks.grammar.wording import LITTLE, words_of

NEAREST = 0.8
"""Least ratio (difflib's, over words) at which a sentence of the caption counts as the one that was meant."""

AHEAD = 0.1
"""By how much its ratio must exceed that of every other sentence."""

_STOP = re.compile(r"[.!?…]*")


def find_quote(text: str, quote: str) -> Span | None:
    """Where `quote` stands in `text` as whole words: letter for letter, else whatever the white space and the case.

    The first such place; None where there is none.
    """
    words = quote.split()
    if not words:
        return None
    exact = text.find(quote.strip())
    if exact >= 0 and _whole_words(text, exact, exact + len(quote.strip())):
        return Span(start=exact, end=exact + len(quote.strip()))
    begin = r"(?<!\w)" if words[0][0].isalnum() else ""
    end = r"(?!\w)" if words[-1][-1].isalnum() else ""
    found = re.search(begin + r"\s+".join(map(re.escape, words)) + end, text, re.IGNORECASE)
    return Span(start=found.start(), end=found.end()) if found else None


def _whole_words(text: str, start: int, end: int) -> bool:
    """Whether no word reaches over either end of `text[start:end]`."""
    cut = [text[at - 1 : at + 1] for at in (start, end) if 0 < at < len(text)]
    return not any(re.fullmatch(r"\w\w", pair) for pair in cut)


def find_wording(text: str, quote: str) -> Span | None:
    """The first place where the quote's words stand in their order, whatever case, quotes, dashes, marks and spaces."""
    if found := find_quote(text, quote):
        return found
    own, wanted = words_of(text), [word.low for word in words_of(quote)]
    for i in range(len(own) - len(wanted) + 1) if wanted else ():
        if [word.low for word in own[i : i + len(wanted)]] == wanted:
            end = own[i + len(wanted) - 1].end
            # A sentence keeps its stop, also where the quote closes with other marks.
            stop = _STOP.match(text, end) if quote.rstrip()[-1] in ".!?…\"'”’" else None
            return Span(start=own[i].start, end=stop.end() if stop else end)
    return None


def nearest_sentence(text: str, quote: str) -> Span | None:
    """The sentence that a quote means, though not in its words: near (NEAREST) and clearly nearer than others (AHEAD).

    None also where the quote says what another sentence says and this one does not, or denies what it does not.
    """
    said = [word.low for word in words_of(quote)]
    ranked = []
    for start, end in sentence_ranges(text):
        own = [word.low for word in words_of(text[start:end])]
        ranked.append((SequenceMatcher(None, own, said, autojunk=False).ratio(), start, end, own))
    ranked.sort(key=lambda one: (-one[0], one[1]))
    if not ranked or ranked[0][0] < NEAREST or (len(ranked) > 1 and ranked[0][0] - ranked[1][0] < AHEAD):
        return None
    _, start, end, own = ranked[0]
    elsewhere = {word.low for word in words_of(text[:start] + " " + text[end:])}
    if set(said) & elsewhere - set(own) - LITTLE or _denials(said) != _denials(own):
        return None
    return Span(start=start, end=end)


def _denials(words: list[str]) -> set[str]:
    return {"n't" if word.endswith("n't") else word for word in words} & NEGATIONS
