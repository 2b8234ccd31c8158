"""Whom the words of a plain prompt mean, where it says so by itself: read by the grammar that reads captions.

    "A man lifts a box." with masks of id1 and id2  →  id1: man · id1+id2: lifts · id2: box

Captions of data sets number those whom they name by the order in which they first do (`tasks/engines/prompts`), and a
model that was trained on them has seen no other. So the prompt is taken to number its own alike, and only where it
names as many as there are masks.
"""

from collections.abc import Collection, Mapping
from typing import Any

from matrix_train.errors import UserError
from matrix_train.sample.words import role_places
from schemas import RoleSpans, Span

MARK = "mark the words in it, as <id1>A man</id1> <id1+id2>lifts</id1+id2> <id2>a box</id2>"


def read_roles(prompt: str, masked: Collection[str]) -> dict[str, tuple[Span, ...]]:
    """Where each role's words stand, by its IDs. masked: IDs that have a mask.

    UserError where the prompt cannot be read, or names others than have masks; it says what it was read as.
    """
    from tasks.caption.spans import Roles, locate
    from tasks.grammar.reading import read

    reading = read(prompt)
    phrases = [max((prompt[m.start : m.end] for m in whom.mentions), key=len) for whom in reading.entities]
    ids = {f"id{number}": phrase for number, phrase in enumerate(phrases, 1)}
    if ids.keys() != set(masked):
        named = ", ".join(f"{name} {phrase!r}" for name, phrase in ids.items()) or "nobody"
        raise UserError(
            f"CMG needs to know which words mean whom, and the prompt as it is read here names {named}, the masks "
            f"{', '.join(sorted(masked))}: {MARK}, or give --role"
        )
    names = {id(whom): (whom.head, phrase, phrase) for whom, phrase in zip(reading.entities, phrases, strict=True)}
    numbers = {id(whom): name for whom, name in zip(reading.entities, ids, strict=True)}
    acts: list[tuple[str, str, RoleSpans]] = []
    for fact in reading.facts:
        ends = id(fact.subject), id(fact.object)
        others = tuple(own for whom, own in names.items() if whom not in ends)
        sentence = prompt[slice(*fact.sentence)]
        found = locate(prompt, Roles(fact.act.verb, names[ends[0]], names[ends[1]], sentence, others))
        if isinstance(found, str):
            raise UserError(f"CMG needs to know which words mean whom, but not so the {found}: {MARK}, or give --role")
        acts.append((numbers[ends[0]], numbers[ends[1]], found[0]))
    return role_places(acts)


def heads_of(prompt: str, nouns: Mapping[str, tuple[Span, ...]]) -> dict[str, str]:
    """The base noun of each ID's words, where the grammar knows one: "the tall men" are `man`."""
    from tasks.grammar.reading import read

    mentions = [(phrase, whom.head) for whom in read(prompt).entities for phrase in whom.mentions]
    found = {}
    for ids, spans in nouns.items():
        if heads := [head for phrase, head in mentions if _meet(phrase, spans)]:
            found[ids] = heads[0]
    return found


def ratings_of(prompt: str, verbs: Mapping[str, tuple[Span, ...]]) -> dict[str, dict[str, int]]:
    """Contact and dynamism of each verb, by its IDs, where the grammar reads it as an act."""
    from tasks.grammar.reading import read

    found: dict[str, dict[str, int]] = {}
    for ids, spans in verbs.items():
        for fact in read(prompt).facts:
            if any(_meet(token, spans) for token in fact.act.tokens):
                found.setdefault(ids, {"contact": fact.act.contact, "dynamism": fact.act.dynamism})
    return found


def _meet(piece: Any, spans: tuple[Span, ...]) -> bool:
    return any(piece.start < span.end and span.start < piece.end for span in spans)
