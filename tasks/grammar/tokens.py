"""Text to tokens: words and marks with their offsets, and where sentences begin and end."""

import re
from dataclasses import dataclass

from tasks.grammar.nouns import word_set

_WORD = re.compile(r"\w+n['’]t\b|\w+(?:[-‐‑]\w+)*|['’](?:s|re|ll|d|ve|m)\b|[^\w\s]", re.UNICODE)
_SHORTENED = word_set("mr mrs ms dr st jr sr vs etc e.g i.e")


@dataclass(frozen=True)
class Token:
    """One word or mark of the caption: `caption[start:end]`."""

    text: str
    start: int
    end: int

    @property
    def low(self) -> str:
        return self.text.lower().replace("’", "'")


def tokenize(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Words, clitics and marks of `text[start:end]`, with offsets into `text`."""
    found = _WORD.finditer(text, start, len(text) if end is None else end)
    return [Token(m.group(), m.start(), m.end()) for m in found]


def sentence_ranges(text: str) -> list[tuple[int, int]]:
    """Half-open ranges of the sentences: split after . ! ? … before white space, and at line ends."""
    ranges, begin = [], 0
    for found in re.finditer(r"[.!?…]+[\"'”’)\]]*(?=\s)|\n+", text):
        words = text[max(begin, found.start() - 8) : found.start()].lower().split()
        if found.group().startswith(".") and words and words[-1] in _SHORTENED:
            continue
        if text[begin : found.end()].strip():
            ranges.append((begin, found.end()))
        begin = found.end()
    if text[begin:].strip():
        ranges.append((begin, len(text)))
    trimmed = []
    for a, b in ranges:
        piece = text[a:b]
        trimmed.append((a + len(piece) - len(piece.lstrip()), a + len(piece.rstrip())))
    return trimmed
