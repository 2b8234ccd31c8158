"""The four questions: what each turn's document holds, and what a reply must satisfy beyond its form."""

import re
from collections.abc import Sequence
from typing import Any

from tasks.caption.spans import find_quote
from tasks.engines.asking import Question
from tasks.engines.replies import CountReply, DescribeReply, Entity, ScoreReply, Triplet, TripletsReply

_SURFACE = re.compile(r"<(id[0-9]{1,2})> ([^<>\s](?:[^<>]{0,118}[^<>\s])?) <(id[0-9]{1,2})>")


def verb_of(interaction: str) -> str:
    """The verb of a surface form that has been checked."""
    found = _SURFACE.fullmatch(interaction)
    assert found is not None
    return found.group(2)


def count_question(prompt: str, caption: str) -> Question[CountReply]:
    """Turn 1. Any number or null is a possible answer."""
    return Question("count", prompt, {"caption": caption}, CountReply, lambda _: None)


def triplets_question(prompt: str, caption: str, count: int, slack: int) -> Question[TripletsReply]:
    """Turn 2. `slack`: by how much the list may differ from the count; it may never be empty."""

    def check(reply: TripletsReply) -> None:
        listed = len(reply.triplets)
        if not listed or abs(listed - count) > slack:
            raise ValueError(f"{count} interactions were counted, {listed} are listed")
        ids = [e.id for e in reply.entities]
        _no_repeats("the entities", ids)
        for entity in reply.entities:
            if find_quote(caption, entity.phrase) is None:
                raise ValueError(f"the phrase of {entity.id}, {entity.phrase!r}, does not stand in the caption")
        for triplet in reply.triplets:
            _check_triplet(triplet, set(ids), caption)
        _no_repeats("the triplets", [t.interaction.lower() for t in reply.triplets])
        used = {i for t in reply.triplets for i in (t.src1, t.tgt1)}
        if unused := [i for i in ids if i not in used]:
            raise ValueError(f"no triplet names {', '.join(unused)}")

    return Question("triplets", prompt, {"caption": caption, "count": count}, TripletsReply, check)


def _check_triplet(triplet: Triplet, ids: set[str], caption: str) -> None:
    found = _SURFACE.fullmatch(triplet.interaction)
    if found is None:
        raise ValueError(f"{triplet.interaction!r} is not of the form '<idX> verb <idY>'")
    if triplet.src1 == triplet.tgt1:
        raise ValueError(f"{triplet.interaction!r} has {triplet.src1} as subject and object")
    if (found.group(1), found.group(3)) != (triplet.src1, triplet.tgt1):
        raise ValueError(f"{triplet.interaction!r} disagrees with src1 {triplet.src1} and tgt1 {triplet.tgt1}")
    for end in (triplet.src1, triplet.tgt1):
        if end not in ids:
            raise ValueError(f"{triplet.interaction!r} names {end}, which is not among the entities")
    if find_quote(caption, triplet.source_sentence) is None:
        raise ValueError(f"the source sentence of {triplet.interaction!r} does not stand in the caption")


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

    def check(reply: DescribeReply) -> None:
        ids = [d.id for d in reply.instances]
        _no_repeats("the instances", ids)
        if missing := [i for i in wanted if i not in ids]:
            raise ValueError(f"no entry for {', '.join(missing)}")
        if unknown := [i for i in ids if i not in wanted]:
            raise ValueError(f"an entry for {', '.join(unknown)}, which was not asked for")
        for d in reply.instances:
            if not re.fullmatch(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*", d.cls) or d.cls != d.cls.lower():
                raise ValueError(f"the cls of {d.id}, {d.cls!r}, is not a base noun in lower case")
            if not d.noun.strip():
                raise ValueError(f"the noun of {d.id} is blank")
        _no_repeats("the nouns", [" ".join(d.noun.lower().split()) for d in reply.instances])

    document = {
        "caption": caption,
        "triplets": [t.model_dump(mode="json") for t in triplets],
        "entities": _named(entities),
    }
    return Question("describe", prompt, document, DescribeReply, check)


def _named(entities: Any) -> list[dict[str, str]]:
    return [{"id": e.id, "phrase": e.phrase} for e in entities]


def _no_repeats(what: str, items: Sequence[str]) -> None:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item!r} stands twice among {what}")
