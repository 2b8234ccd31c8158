"""A caption read as a whole: the acts it states, and the entities between which they happen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.grammar import nouns
from tasks.grammar.acts import Act, acts_of
from tasks.grammar.chunks import chunk_sentence
from tasks.grammar.clauses import Clause, read_clauses
from tasks.grammar.entities import Entities, Entity
from tasks.grammar.pieces import Mark, Phrase, Piece
from tasks.grammar.tokens import sentence_ranges

MAX_FACTS = 48
"""A longer list is cut: IDs have two digits, and a caption with more acts is no caption."""


@dataclass(frozen=True)
class Fact:
    """An act whose ends are known."""

    act: Act
    subject: Entity
    object: Entity
    sentence: tuple[int, int]


@dataclass(frozen=True)
class Reading:
    """What the grammar makes of a caption: facts in reading order, each told once."""

    caption: str
    facts: tuple[Fact, ...]
    entities: tuple[Entity, ...]
    """Those that take part in a fact, in the order of their first mention."""


@lru_cache(maxsize=256)
def read(caption: str) -> Reading:
    """Read a caption. Pure: the same text gives the same reading."""
    entities = Entities()
    told: list[tuple[Act, tuple[int, int]]] = []
    for start, end in sentence_ranges(caption):
        pieces = chunk_sentence(caption, start, end)
        clauses = read_clauses(pieces)
        roles, rivals = _roles(clauses)
        for k, piece in enumerate(pieces):
            if isinstance(piece, Phrase):
                near = rivals.get(piece.start, set()) | _listed_before(k, pieces)
                entities.resolve(piece, roles.get(piece.start, "other"), near)
        told += [(act, (start, end)) for clause in clauses for act in acts_of(clause)]
    facts: dict[tuple[int, str, int], Fact] = {}
    for act, sentence in told:
        subject, target = entities.of.get(act.subject.start), entities.of.get(act.object.start)
        if subject is None or target is None or subject is target or not subject.living:
            continue
        if target.head in nouns.NON_TARGETS and not target.living:
            continue
        facts.setdefault((id(subject), act.lemma, id(target)), Fact(act, subject, target, sentence))
    ordered = sorted(facts.values(), key=_place)[:MAX_FACTS]
    part = [e for e in entities.all if e.mentions and any(e is f.subject or e is f.object for f in ordered)]
    part.sort(key=lambda e: e.mentions[0].start)
    return Reading(caption, tuple(f for f in ordered if f.subject in part and f.object in part), tuple(part))


def _place(fact: Fact) -> tuple[int, int, int]:
    return fact.act.tokens[0].start, fact.act.object.start, fact.act.subject.start


def _roles(clauses: list[Clause]) -> tuple[dict[int, str], dict[int, set[int]]]:
    """Per phrase (by its start): its role as an actor, and the phrases that share its clause."""
    roles: dict[int, str] = {}
    rivals: dict[int, set[int]] = {}
    for clause in clauses:
        doers = clause.doers
        targets = [p for group in clause.objects for p in group] + (clause.subjects if clause.passive else [])
        others = [p for _, group in clause.obliques for p in group if p not in doers]
        for role, group in (("subject", doers), ("object", targets), ("other", others)):
            for phrase in group:
                roles.setdefault(phrase.start, role)
        everyone = {p.start for p in (*doers, *targets, *others)}
        for start in everyone:
            rivals.setdefault(start, set()).update(everyone - {start})
    return roles, rivals


def _listed_before(k: int, pieces: Sequence[Piece]) -> set[int]:
    """The phrase joined to the k-th piece by "and": two members of a list are two entities."""
    link, before = (pieces[k - 1], pieces[k - 2]) if k >= 2 else (None, None)
    return {before.start} if isinstance(link, Mark) and link.low == "and" and isinstance(before, Phrase) else set()
