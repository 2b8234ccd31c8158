"""The four questions: what each turn's document holds, what a server is held to, what a reply must satisfy beyond."""

import re
from collections.abc import Sequence
from typing import Any

from schemas.usage import Repairs
from tasks.caption.mending import SURFACE, mend_descriptors, mend_triplets
from tasks.engines.asking import Question
from tasks.engines.replies import (
    MAX_TRIPLETS,
    CountReply,
    DescribeReply,
    Entity,
    ScoreReply,
    Triplet,
    TripletsReply,
    held_to,
)
from tasks.grammar.tokens import sentence_ranges

_STEP = 64
"""A sentence's bound is the least of 64, 128, 256, … characters that holds the caption's longest and a quarter more:
few schemas, and room for one that is not copied letter for letter."""


def verb_of(interaction: str) -> str:
    """The verb of a surface form that has been checked."""
    found = SURFACE.fullmatch(interaction)
    assert found is not None
    return found.group(2)


def count_question(prompt: str, caption: str) -> Question[CountReply]:
    """Turn 1. Any number or null is a possible answer."""
    return Question("count", prompt, {"caption": caption}, CountReply, lambda _: None)


def triplets_question(prompt: str, caption: str, count: int, slack: int) -> Question[TripletsReply]:
    """Turn 2. `slack`: by how much the list may differ from the count; it may never be empty."""

    def check(reply: TripletsReply) -> tuple[TripletsReply, Repairs]:
        mended, repairs = mend_triplets(reply, caption)
        listed = len(mended.triplets)
        if not listed or abs(listed - count) > slack:
            doubles = f", and {repairs.doubles} twice" if repairs.doubles else ""
            raise ValueError(f"{count} interactions were counted, {listed} are listed{doubles}")
        ids = [e.id for e in mended.entities]
        _no_repeats("the entities", ids)
        for triplet in mended.triplets:
            if triplet.src1 == triplet.tgt1:
                raise ValueError(f"{triplet.interaction!r} has {triplet.src1} as subject and object")
            for end in (triplet.src1, triplet.tgt1):
                if end not in ids:
                    raise ValueError(f"{triplet.interaction!r} names {end}, which is not among the entities")
        return mended, repairs

    most = min(count + slack, MAX_TRIPLETS)
    longest = max((end - start for start, end in sentence_ranges(caption)), default=1) * 5 // 4
    form = held_to(TripletsReply, {
        "entities": {"minItems": 2, "maxItems": 2 * most},
        "triplets": {"minItems": max(1, count - slack), "maxItems": most},
        "triplets.source_sentence": {"maxLength": _STEP << max(0, (longest - 1) // _STEP).bit_length()},
    })  # fmt: skip
    return Question("triplets", prompt, {"caption": caption, "count": count}, form, check)


def score_question(prompt: str, caption: str, triplet: Triplet, entities: Sequence[Entity]) -> Question[ScoreReply]:
    """Turn 3, for one triplet. The reply model holds all there is to check."""
    document = {
        "caption": caption,
        "triplet": triplet.model_dump(mode="json"),
        "entities": _named(e for e in entities if e.id in (triplet.src1, triplet.tgt1)),
    }
    return Question(f"score {triplet.interaction}", prompt, document, ScoreReply, lambda _: None)


def describe_question(
    prompt: str, caption: str, triplets: Sequence[Triplet], entities: Sequence[Entity]
) -> Question[DescribeReply]:
    """Turn 4, for the IDs that the filter left."""
    wanted = [e.id for e in entities]

    def check(reply: DescribeReply) -> tuple[DescribeReply, Repairs]:
        mended, repairs = mend_descriptors(reply)
        ids = [d.id for d in mended.instances]
        _no_repeats("the instances", ids)
        if missing := [i for i in wanted if i not in ids]:
            raise ValueError(f"no entry for {', '.join(missing)}")
        if unknown := [i for i in ids if i not in wanted]:
            raise ValueError(f"an entry for {', '.join(unknown)}, which was not asked for")
        for d in mended.instances:
            if not re.fullmatch(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*", d.cls):
                raise ValueError(f"the cls of {d.id}, {d.cls!r}, is not a base noun in lower case")
            if not d.noun:
                raise ValueError(f"the noun of {d.id} is blank")
        _no_repeats("the nouns", [" ".join(d.noun.lower().split()) for d in mended.instances])
        return mended, repairs

    document = {
        "caption": caption,
        "triplets": [t.model_dump(mode="json") for t in triplets],
        "entities": _named(entities),
    }
    form = held_to(DescribeReply, {
        "instances": {"minItems": len(wanted), "maxItems": len(wanted)},
        "instances.id": {"enum": wanted},
    })  # fmt: skip
    return Question("describe", prompt, document, form, check)


def _named(entities: Any) -> list[dict[str, str]]:
    return [{"id": e.id, "phrase": e.phrase} for e in entities]


def _no_repeats(what: str, items: Sequence[str]) -> None:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item!r} stands twice among {what}")
