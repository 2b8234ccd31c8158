"""From character spans in a caption to T5 token indices: T_e of paper §4.

    prompt = encode(tokenizer, caption, [interaction.spans for interaction in sample.interactions])
    prompt.input_ids            # what the text encoder reads, padded to 226
    prompt.interactions[0]      # RoleTokens, or Skip with its reason

T5's normaliser rewrites text before it cuts it (NFKC: "ﬁ" is two letters, "½" three; runs of blanks shrink), so a
token's place is taken from the tokenizer's offset mapping, never from searching or counting. Each role is then checked:
its tokens must spell the text under its span. What cannot be placed is a `Skip` that the caller counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerFast

from matrix_train.attention.roles import ROLES
from schemas import RoleSpans, Span

WORD_MARK = "▁"

RoleRanges = Mapping[str, tuple[Span, ...]]
"""Spans by role, none where a role has no words."""

SkipReason = Literal["truncated", "no_token", "mismatch"]


@dataclass(frozen=True)
class RoleTokens:
    """Token indices of each role in the padded prompt, ascending: noun with modifiers, verb with auxiliaries and
    particles, as the interaction's spans say. A token that two spans share belongs to both roles."""

    subject: tuple[int, ...]
    verb: tuple[int, ...]
    object: tuple[int, ...]

    def sets(self) -> tuple[tuple[int, ...], ...]:
        """In the order of `roles.ROLES`."""
        return (self.subject, self.verb, self.object)


@dataclass(frozen=True)
class Skip:
    """An interaction that this prompt cannot be aligned on. `truncated`: a token of the role lies beyond the prompt's
    end; `no_token`: the normaliser leaves nothing of it; `mismatch`: its tokens do not spell its text."""

    role: str
    reason: SkipReason


@dataclass(frozen=True)
class Prompt:
    """`input_ids` as diffusers' pipelines make them, and the outcome for each interaction in order."""

    input_ids: tuple[int, ...]
    interactions: tuple[RoleTokens | Skip, ...]

    def skipped(self) -> Counter[SkipReason]:
        """How many interactions were skipped, by reason."""
        return Counter(outcome.reason for outcome in self.interactions if isinstance(outcome, Skip))


def encode(
    tokenizer: PreTrainedTokenizerFast,
    caption: str,
    interactions: Sequence[RoleSpans | RoleRanges],
    max_length: int = 226,
) -> Prompt:
    """Token ids of the caption and the role tokens of its interactions; of a role without spans none.

    ValueError for a tokenizer without offset mapping (a "slow" one).
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} gives no character offsets: load the fast T5 tokenizer")
    whole = tokenizer(caption, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    text = _Tokens(tokenizer, caption, whole.tokens(), [tuple(pair) for pair in whole["offset_mapping"]])
    padded = tokenizer(caption, padding="max_length", truncation=True, max_length=max_length, add_special_tokens=True)
    room = max_length - tokenizer.num_special_tokens_to_add()
    return Prompt(tuple(padded["input_ids"]), tuple(_roles(text, spans, room) for spans in interactions))


@dataclass(frozen=True)
class _Tokens:
    """The caption cut into tokens, untruncated, each with its range of characters in the caption."""

    tokenizer: PreTrainedTokenizerFast
    caption: str
    pieces: list[str]
    ranges: list[tuple[int, int]]

    def under(self, span: Span) -> list[int]:
        """Tokens that share a character with the span. A word mark alone claims the next letter's range: left out."""
        return [
            index
            for index, (piece, (start, end)) in enumerate(zip(self.pieces, self.ranges, strict=True))
            if piece != WORD_MARK and start < span.end and end > span.start
        ]

    def spell(self, span: Span, indices: list[int]) -> bool:
        """Whether the tokens, put together, are the normalised text that span and tokens cover."""
        start = min(span.start, *(self.ranges[i][0] for i in indices))
        end = max(span.end, *(self.ranges[i][1] for i in indices))
        normaliser = self.tokenizer.backend_tokenizer.normalizer
        covered = self.caption[start:end]
        plain = normaliser.normalize_str(covered) if normaliser else covered
        return "".join(self.pieces[i] for i in indices).replace(WORD_MARK, "") == "".join(plain.split())


def _roles(text: _Tokens, spans: RoleSpans | RoleRanges, room: int) -> RoleTokens | Skip:
    found: dict[str, tuple[int, ...]] = {}
    given: RoleRanges = dict(spans)
    for role in ROLES:
        indices: set[int] = set()
        for span in given[role]:
            under = text.under(span)
            if not under:
                return Skip(role, "no_token")
            if not text.spell(span, under):
                return Skip(role, "mismatch")
            indices.update(under)
        if max(indices, default=0) >= room:
            return Skip(role, "truncated")
        found[role] = tuple(sorted(indices))
    return RoleTokens(**found)
