"""Captions with tags: `<id1> A man lifts <id2> a box.`, the released code's way of naming instances.

    tagged(caption, interactions).prompt       # the caption with a tag before each subject and object
    add_tags(tokenizer)                        # each tag one token

SGA then reads the tags alone, which say nothing but who is meant; there is none for the verb.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from matrix_train.attention.prompts import RoleRanges
from schemas import Interaction, Span
from schemas.base import InstanceId

TAGGED_IDS = 5
"""At most so many instances a clip are kept (paper §3), so that there are tags for all."""


@dataclass(frozen=True)
class Tagged:
    """The prompt, and for each interaction where its tags stand."""

    prompt: str
    spans: tuple[RoleRanges, ...]


def tag(name: InstanceId) -> str:
    return f"<{name}>"


def add_tags(tokenizer: PreTrainedTokenizerFast) -> None:
    """Makes each tag one token, with an id behind the vocabulary.

    T5's embeddings have rows to spare there (32 128 for 32 100 tokens), which no text has trained. A caption without
    tags is cut as before.
    """
    tokenizer.add_tokens([AddedToken(tag(f"id{i}"), normalized=False) for i in range(1, TAGGED_IDS + 1)])


def tagged(caption: str, interactions: Sequence[Interaction]) -> Tagged:
    """One tag before the first word of every mention; mentions of one instance at one place share it."""
    wanted = {
        (spans[0].start, name)
        for act in interactions
        for spans, name in ((act.spans.subject, act.subject), (act.spans.object, act.object))
    }
    parts: list[str] = []
    places: dict[tuple[int, InstanceId], Span] = {}
    done = length = 0
    for start, name in sorted(wanted):
        before = caption[done:start]
        begin = length + len(before)
        places[start, name] = Span(start=begin, end=begin + len(tag(name)))
        parts += [before, tag(name), " "]
        done, length = start, begin + len(tag(name)) + 1
    spans = tuple(
        {
            "subject": (places[act.spans.subject[0].start, act.subject],),
            "verb": (),
            "object": (places[act.spans.object[0].start, act.object],),
        }
        for act in interactions
    )
    return Tagged("".join([*parts, caption[done:]]), spans)
