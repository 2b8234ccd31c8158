"""JSON enforced while decoding: a token that would leave the question's schema cannot be chosen.

By llguidance, whose grammar for a question is made in milliseconds. So, other than with a server, each question has one
of its own: its nonce is a constant, confidences are hundredths, and every text has a bound and plain characters.
"""

import json
from collections.abc import Sequence
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray
from pydantic import BaseModel
from transformers import LogitsProcessor

from tasks.engines.base import Message
from tasks.engines.served.wire import strict_schema

LONGEST = 1200
"""Characters of a text that the question itself leaves open, as a caption is."""

CLOSING_SHARE = 2
"""A reply's last 1/n of its tokens is for bringing it to an end: every text and list closes as soon as it may."""

_SENT = r'"\\\n\r\t]'
"""How a server's patterns say which characters a text may not have."""

_PLAIN = r'"\\\x00-\x1f\x7f-\x9f' + "\u202a-\u202e\u2066-\u2069]"
"""Nor any other control or direction character, of which `schemas.text.text_problem` takes none."""

_HUNDREDTHS = {"enum": [n / 100 for n in range(101)]}


def schema_of(messages: Sequence[Message], form: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema that the reply to these messages is held to."""
    schema: dict[str, Any] = _tightened(strict_schema(form))
    nonce = json.loads(messages[-1].text)["nonce"]
    return schema | {"properties": schema["properties"] | {"nonce": {"const": nonce}}}


def _tightened(node: Any) -> Any:
    if isinstance(node, list):
        return [_tightened(item) for item in node]
    if not isinstance(node, dict):
        return node.replace(_SENT, _PLAIN) if isinstance(node, str) else node
    if node.get("type") == "number":
        return _HUNDREDTHS
    made = {name: _tightened(below) for name, below in node.items()}
    if node.get("type") == "string" and not {"pattern", "enum"} & set(node):
        made["pattern"] = f"^[^{_PLAIN}{{1,{LONGEST}}}$"
    return made


class Grammars:
    """Grammars over the tokens of one model."""

    def __init__(self, tokenizer: Any, tokens: int, ends: Sequence[int]) -> None:
        """tokens: width of the model's logits. ends: the tokens that end a reply."""
        slices = llguidance.LLTokenizer.json_slices()
        self.ends = list(ends)
        self.tokens = tokens
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=tokens, eos_token=self.ends, slices=slices)
        known = tokenizer.get_vocab()
        # In this order: within a text a bracket is text, and its quote comes first.
        self.closing = [
            np.isin(np.arange(tokens), some) for some in (self.ends, [known['"']], [known["]"], known["}"]])
        ]

    def matcher(self, schema: dict[str, Any]) -> LLMatcher:
        """A reply from its first token on. ValueError where the schema makes no grammar, which is our mistake."""
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
        matcher = LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(f"no grammar for {json.dumps(schema)[:500]}: {matcher.get_error()}")
        return matcher


class Held(LogitsProcessor):
    """Holds each reply of one batch to its schema, for one call of `generate`."""

    def __init__(self, grammars: Grammars, schemas: Sequence[dict[str, Any]], most: int) -> None:
        """most: tokens of a reply."""
        self.grammars = grammars
        self.matchers = [grammars.matcher(schema) for schema in schemas]
        self.going = list(range(len(schemas)))
        self.closes_at = most - most // CLOSING_SHARE
        self.said = 0
        self.mask: NDArray[np.int32] = allocate_token_bitmask(len(schemas), grammars.tokens)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """scores: [B, tokens], with -inf wherever a token would leave the schema."""
        if self.said:
            self._take(input_ids[:, -1].tolist())
        self.said += 1
        for i in self.going:
            fill_next_token_bitmask(self.matchers[i], self.mask, i)
        # Bit by bit, as bytes: a token's bit is bit t % 8 of byte t // 8.
        allowed = np.unpackbits(self.mask.view(np.uint8), axis=1, bitorder="little")[:, : scores.shape[1]].view(bool)
        if self.said > self.closes_at:
            for closing in self.grammars.closing:
                ending = allowed & closing
                allowed = np.where(ending.any(1, keepdims=True), ending, allowed)
        scores.masked_fill_(~torch.from_numpy(allowed).to(scores.device), float("-inf"))
        return scores

    def _take(self, chosen: list[int]) -> None:
        """Take in the last token of each reply that is not at its end."""
        for i in list(self.going):
            if chosen[i] in self.grammars.ends:
                self.going.remove(i)
                self.mask[i] = -1  # what follows the end of a reply is padding
            elif not self.matchers[i].consume_token(chosen[i]):
                raise ValueError(f"the grammar was left: {self.matchers[i].get_error()}")
