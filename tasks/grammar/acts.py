"""Clauses to acts: who does what to whom, rated by the verb. What is no act on a target is left out here."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.grammar import nouns
from tasks.grammar.clauses import Clause
from tasks.grammar.pieces import Phrase
from tasks.grammar.tokens import Token
from tasks.grammar.verbs import BY_AIR, DATIVE, NO_ACTS, PREPOSITIONAL, RATINGS, TRANSFER, third_person

SURE, LIKELY, UNKNOWN = 0.9, 0.7, 0.3
"""Confidence where the lexicon has the verb; where the act is a purpose; where only its form says that it is a verb."""

THROUGH_TOOL = 3
"""Contactness of a doer and what they touch by a tool only: indirect."""


@dataclass(frozen=True)
class Act:
    """One triplet before its ends are given IDs."""

    subject: Phrase
    verb: str
    """As the surface form has it: in the caption's words where they are active and finite, else in the third person."""
    lemma: str
    """With particle or preposition: "pick up"."""
    tokens: tuple[Token, ...]
    object: Phrase
    contact: int
    dynamism: int
    confidence: float
    why: str


def acts_of(clause: Clause) -> Iterator[Act]:
    """The acts that one clause states."""
    if not clause.real:
        return
    doers = [p for p in clause.doers if p.living or p.pronoun or not p.head]
    if not doers:
        return
    recipients, themes = _objects(clause)
    for doer in doers:
        yield from _direct(clause, doer, themes)
        yield from _through_preposition(clause, doer, themes)
        if clause.verb.lemma in TRANSFER and themes:
            for word, recipient in recipients:
                yield from _transfer(clause, doer, word, recipient)


def _objects(clause: Clause) -> tuple[list[tuple[Token | None, Phrase]], list[Phrase]]:
    """Third parties with the preposition before them, and direct objects."""
    lemma = clause.verb.lemma
    recipients: list[tuple[Token | None, Phrase]] = [
        (word, p) for word, group in clause.obliques if word.low in ("to", "at") for p in group
    ]
    groups = [[*clause.subjects]] if clause.passive else []
    groups += clause.objects
    if len(groups) >= 2 and lemma in DATIVE:
        first, second = groups[0], groups[1]
        recipients += [(None, p) for p in first]
        return recipients, second
    return recipients, [p for group in groups[:1] for p in group]


def _direct(clause: Clause, doer: Phrase, themes: list[Phrase]) -> Iterator[Act]:
    lemma = clause.verb.lemma
    known = lemma in RATINGS
    if not known and lemma in NO_ACTS:
        return
    contact, dynamism = RATINGS.get(lemma, (3, 3))
    confidence = UNKNOWN if not known else LIKELY if clause.verb.infinitive else SURE
    tools = [(w, p) for w, group in clause.obliques if w.low in ("with", "using") for p in group if _is_tool(p)]
    for theme in themes:
        if lemma == "play" and not theme.determiner and not theme.modifiers:
            continue
        if theme.target and theme != doer:
            why = f"the caption says '{lemma}'" if known else f"'{lemma}' is not a verb of the lexicon"
            tokens = (*clause.verb.tokens, *clause.particles)
            touch = min(contact, THROUGH_TOOL) if tools or clause.by_tool else contact
            yield _act(clause, doer, tokens, _lemma(clause), theme, touch, dynamism, confidence, why)
    if themes and themes[0].target and known and not _exchanged(lemma):
        for word, tool in tools:
            why = f"'{lemma} … with' says that it is in use"
            yield _act(clause, doer, (*clause.verb.tokens, word), f"{lemma} with", tool, *RATINGS["use"], SURE, why)


def _exchanged(lemma: str) -> bool:
    """Verbs whose "with" names what is added or shared, not a tool."""
    return lemma in ("fill", "mix", "share", "decorate", "load", "exchange", "stuff", "combine", "feed", "play", "help")


def _is_tool(phrase: Phrase) -> bool:
    return phrase.target and not phrase.living and not phrase.pronoun and phrase.head not in nouns.GARMENTS


def _through_preposition(clause: Clause, doer: Phrase, themes: list[Phrase]) -> Iterator[Act]:
    """ "bumps into a man", "plays with a dog": the preposition's noun is the target."""
    if clause.passive or (themes and clause.verb.lemma not in ("bump", "knock")):
        return
    for word, group in clause.obliques[:1]:
        rating = PREPOSITIONAL.get((clause.verb.lemma, word.low))
        for target in group:
            if rating and target.target and target != doer:
                lemma = f"{clause.verb.lemma} {word.low}"
                why = f"the caption says '{lemma}'"
                yield _act(clause, doer, (*clause.verb.tokens, word), lemma, target, *rating, SURE, why)


def _transfer(clause: Clause, doer: Phrase, word: Token | None, recipient: Phrase) -> Iterator[Act]:
    """The third party of a throw or a hand-over."""
    if not (recipient.living or recipient.pronoun or not recipient.head) or not recipient.target or recipient == doer:
        return
    lemma = clause.verb.lemma
    contact, dynamism = (3, 4) if lemma in BY_AIR else (4, 3)
    tokens = (*clause.verb.tokens, *((word,) if word else ()))
    name = f"{lemma} {word.low if word else 'to'}"
    yield _act(clause, doer, tokens, name, recipient, contact, dynamism, SURE, f"'{lemma}' has a receiver")


def _lemma(clause: Clause) -> str:
    return " ".join((clause.verb.lemma, *(p.low for p in clause.particles)))


def _act(
    clause: Clause, doer: Phrase, tokens: tuple[Token, ...], lemma: str, target: Phrase, contact: int, dynamism: int,
    confidence: float, why: str,
) -> Act:  # fmt: skip
    tokens = tuple(sorted(tokens, key=lambda t: t.start))
    head, *rest = lemma.split(" ", 1)
    if confidence == UNKNOWN or (clause.verb.finite and not clause.passive and clause.verb.form != "base"):
        spoken = " ".join((*(t.text.lower() for t in clause.verb.tokens), *rest))
    else:
        spoken = " ".join((third_person(head), *rest))
    return Act(doer, spoken, lemma, tokens, target, contact, dynamism, confidence, why)
