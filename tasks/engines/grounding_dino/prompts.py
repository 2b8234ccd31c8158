"""Class nouns as GroundingDINO's text, and which of its tokens speak for which noun.

The prompt is "man . polar bear ." and every noun knows its own tokens by position. A box is given to a noun by these
positions, never by comparing words that were read back from the network.
"""

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

Words = tuple[tuple[int, ...], ...]
"""Per word of a noun the positions of its word pieces in the prompt."""

_KEPT = frozenset("-'&/+")


@dataclass(frozen=True)
class Prompt:
    """One text for one forward."""

    text: str
    ids: tuple[int, ...]
    """Token ids of `text` with [CLS] and [SEP], at most the network's text limit."""
    nouns: tuple[tuple[str, ...], ...]
    """Per phrase the nouns as asked; several where they differ only in case or odd characters."""
    words: tuple[Words, ...]
    """Per phrase its token positions."""


def clean(noun: str) -> str:
    """`noun` as the text encoder may see it: lower case, letters, digits and -'&/+, all else a space.

    What would end a phrase ("." and "?") or be read as a control token ("[SEP]") thereby loses its meaning.
    """
    text = unicodedata.normalize("NFKC", noun)
    kept = [
        c if c.isalnum() or c in _KEPT or unicodedata.category(c).startswith("M") else " "
        for c in text
        if unicodedata.category(c) != "Cf"
    ]
    return " ".join("".join(kept).lower().split())


def build_prompts(nouns: Sequence[str], tokenizer: Any, limit: int) -> list[Prompt]:
    """As few prompts as hold all nouns in their order, each of at most `limit` tokens.

    A noun is left out, and so gets no box, where nothing remains of it, where the text encoder does not know one of its
    pieces, or where it alone is longer than `limit`. The log says so.
    """
    closing = tokenizer.convert_tokens_to_ids(".")
    phrases: dict[str, tuple[list[str], list[list[int]]]] = {}
    for noun in dict.fromkeys(nouns):
        text = clean(noun)
        if text not in phrases:
            pieces = _pieces(text, tokenizer, limit)
            if pieces is None:
                log.warning("detector: the noun %r means nothing to the text encoder and gets no box", noun[:80])
                continue
            phrases[text] = ([], pieces)
        phrases[text][0].append(noun)
    prompts: list[Prompt] = []
    batch: list[tuple[str, list[str], list[list[int]]]] = []
    length = 2
    for text, (same, pieces) in phrases.items():
        longer = sum(map(len, pieces)) + 1
        if length + longer > limit:
            prompts.append(_join(batch, tokenizer, closing))
            batch, length = [], 2
        batch.append((text, same, pieces))
        length += longer
    if batch:
        prompts.append(_join(batch, tokenizer, closing))
    return prompts


def _pieces(text: str, tokenizer: Any, limit: int) -> list[list[int]] | None:
    """Token ids per word of a cleaned noun; None where the text encoder cannot tell what it is."""
    words = [_ids(word, tokenizer) for word in text.split(" ") if word]
    flat = [i for word in words for i in word]
    closing = tokenizer.convert_tokens_to_ids([".", "?"])
    if not flat or not all(words) or len(flat) + 3 > limit:
        return None
    if set(flat) & {*tokenizer.all_special_ids, *closing} or _ids(text, tokenizer) != flat:
        return None
    return words


def _ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _join(batch: Sequence[tuple[str, list[str], list[list[int]]]], tokenizer: Any, closing: int) -> Prompt:
    text = " . ".join(text for text, _, _ in batch) + " ."
    ids, words = [tokenizer.cls_token_id], []
    for _, _, pieces in batch:
        places = []
        for piece in pieces:
            places.append(tuple(range(len(ids), len(ids) + len(piece))))
            ids += piece
        words.append(tuple(places))
        ids.append(closing)
    ids.append(tokenizer.sep_token_id)
    if list(tokenizer(text)["input_ids"]) != ids:
        raise ValueError(f"the tokenizer reads {text[:200]!r} otherwise than noun by noun: is it BERT's?")
    return Prompt(text, tuple(ids), tuple(tuple(same) for _, same, _ in batch), tuple(words))
