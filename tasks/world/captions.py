"""Captions in varied grammar, with the character spans of every role (paper §4: T_sub, T_obj, T_verb).

Sentences are written in a small markup and spelled out by `Draft`: `{s}` names the actor in role s, `{o~o}` may be a
pronoun in the objective case, `{o!o}` is one where grammar allows it, and `[0:is pushing]` is a piece of the verb of
triplet 0 (`[01:throws]` of both). The rules of the truth are in `docs/world.md`.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas import RoleSpans, Span
from tasks.world.acts import Act, Link
from tasks.world.phrases import Actor
from tasks.world.sentences import Mark, camera_sentences, plain_sentences, scenery, sentences_for, side_sentences
from tasks.world.words import KIND, PRONOUNS, THROUGH_CONTACT, TO_RATING, WITH_RATING, pronoun


@dataclass(frozen=True)
class SpokenTriplet:
    """A triplet as the caption says it. `act` is the index of the act it comes from."""

    act: int
    subject: str
    verb: str
    object: str
    contact: int
    dynamism: int
    spans: RoleSpans


@dataclass(frozen=True)
class Caption:
    """The text, every span that means an actor (no article; pronouns too) and the triplets, in reading order."""

    text: str
    mentions: dict[str, tuple[Span, ...]]
    triplets: tuple[SpokenTriplet, ...]


@dataclass
class _Triplet:
    act: int
    subject: str
    verb: str
    object: str
    contact: int
    dynamism: int
    pieces: list[Span] = field(default_factory=list)
    sentence: int = -1


_TOKEN = re.compile(r"\{(\w)(?:([~!])([so]))?\}|\[(\d+):([^\]]+)\]")


class Draft:
    """A caption in the making: text so far, who was named where, which verb pieces stand where."""

    def __init__(self, cast: Sequence[Actor], rng: random.Random) -> None:
        self.cast = {actor.key: actor for actor in cast}
        self.rng = rng
        self.text = ""
        self.nouns: dict[str, list[tuple[int, Span]]] = {actor.key: [] for actor in cast}
        """Mentions by a noun, each with the index of its sentence."""
        self.mentions: dict[str, list[Span]] = {actor.key: [] for actor in cast}
        self.triplets: list[_Triplet] = []
        self.sentence = -1

    def write(self, markup: str, roles: dict[str, str], triplets: dict[int, _Triplet] | None = None) -> None:
        """Add one sentence. `roles` maps letters to actor keys, `triplets` the digits of verb pieces to triplets."""
        self.sentence += 1
        if self.text:
            self.text += " "
        begin, at = len(self.text), 0
        for found in _TOKEN.finditer(markup):
            self.text += markup[at : found.start()]
            at = found.end()
            letter, pronominal, case, digits, words = found.groups()
            if letter:
                self._name(roles[letter], pronominal, "subject" if case == "s" else "object")
            else:
                span = self._append(words)
                for digit in digits:
                    if triplets is None:
                        raise ValueError(f"a verb piece without triplets: {markup}")
                    triplets[int(digit)].pieces.append(span)
                    triplets[int(digit)].sentence = self.sentence
        self.text += markup[at:] + "."
        self.text = self.text[:begin] + self.text[begin].upper() + self.text[begin + 1 :]

    def _append(self, words: str) -> Span:
        start = len(self.text)
        self.text += words
        return Span(start=start, end=len(self.text))

    def _name(self, key: str, pronominal: str | None, case: Literal["subject", "object"]) -> None:
        actor = self.cast[key]
        known = bool(self.nouns[key])
        if known and self._takes_pronoun(actor, pronominal):
            self.mentions[key].append(self._append(pronoun(actor.cls, case)))
            return
        if known:
            self.text += "the "
            phrase = self._short(actor)
        else:
            phrase = actor.phrase
            twin = any(self.nouns[k] and a.cls == actor.cls for k, a in self.cast.items() if k != key)
            if actor.place:
                self.text += "the "
            elif twin and self.rng.random() < 0.5:
                self.text += "another "
            else:
                self.text += "an " if phrase[0] in "aeiou" else "a "
        span = self._append(phrase)
        self.nouns[key].append((self.sentence, span))
        self.mentions[key].append(span)

    def _takes_pronoun(self, actor: Actor, pronominal: str | None) -> bool:
        if pronominal is None:
            return False
        if actor.cls in PRONOUNS:
            gender = PRONOUNS[actor.cls][0]
            rivals = sum(PRONOUNS.get(a.cls, ("it",))[0] == gender for a in self.cast.values())
            return rivals == 1 and (pronominal == "!" or self.rng.random() < 0.5)
        return pronominal == "!" and KIND[actor.cls] != "person"

    def _short(self, actor: Actor) -> str:
        """A definite phrase for someone known: as short as it may be without meaning another of the cast."""
        twins = [a for a in self.cast.values() if a.cls == actor.cls and a.key != actor.key]
        if not twins:
            return self.rng.choice((actor.cls, actor.cls, actor.short))
        return actor.definite

    def finish(self) -> Caption:
        spoken = []
        for t in self.triplets:
            pieces = tuple(sorted(_joined(t.pieces, self.text), key=lambda s: s.start))
            spans = RoleSpans(
                subject=(self._role(t.subject, t, pieces[0]),),
                verb=pieces,
                object=(self._role(t.object, t, pieces[0]),),
            )
            spoken.append(SpokenTriplet(t.act, t.subject, t.verb, t.object, t.contact, t.dynamism, spans))
        spoken.sort(key=lambda t: (t.spans.verb[0].start, t.spans.verb[-1].end, t.spans.object[0].start))
        return Caption(self.text, {key: tuple(spans) for key, spans in self.mentions.items()}, tuple(spoken))

    def _role(self, key: str, triplet: _Triplet, verb: Span) -> Span:
        """The noun that fills a role: nearest to the verb within its sentence, else the latest one before."""
        here = [span for sentence, span in self.nouns[key] if sentence == triplet.sentence]
        if here:
            return min(here, key=lambda s: (max(verb.start - s.end, s.start - verb.end), s.start))
        return [span for sentence, span in self.nouns[key] if sentence < triplet.sentence][-1]


def _joined(pieces: Sequence[Span], text: str) -> list[Span]:
    """Verb pieces with only a space between them are one span."""
    out: list[Span] = []
    for piece in sorted(pieces, key=lambda s: s.start):
        if out and text[out[-1].end : piece.start] == " ":
            out[-1] = Span(start=out[-1].start, end=piece.end)
        else:
            out.append(piece)
    return out


def _triplets(index: int, act: Act, mark: Mark) -> dict[int, _Triplet]:
    """Digits of the markup → triplets: 0 the verb, 1 its third party, 2 the catch (`mark.base` shifts them)."""
    v = act.verb
    made: dict[int, _Triplet] = {}
    if act.instrument:
        lemma = f"{v.base} with" if mark.with_form else "use"
        made[0] = _Triplet(index, act.subject, lemma, act.instrument, *WITH_RATING)
        made[1] = _Triplet(index, act.subject, v.lemma, act.object, THROUGH_CONTACT, v.dynamism)
    else:
        made[0] = _Triplet(index, act.subject, v.lemma, act.object, v.contact, v.dynamism)
        if act.recipient:
            made[1] = _Triplet(index, act.subject, f"{v.base} to", act.recipient, *TO_RATING[v.motion])
            if act.catch:
                c = act.catch
                made[2] = _Triplet(index, act.recipient, c.lemma, act.object, c.contact, c.dynamism)
    return {digit + mark.base: triplet for digit, triplet in made.items()}


def write_caption(
    cast: Sequence[Actor], acts: Sequence[Act], link: Link, rng: random.Random, extras: Sequence[Actor] = (),
    setting: str = "room",
) -> Caption:  # fmt: skip
    """A caption that states the acts, between sentences that state no interaction.

    `cast` are the actors of the acts in any order (with `link="none"`: those to talk about), `extras` further drawn
    ones that the caption may mention as standing by. Raises ValueError when acts and link do not fit.
    """
    draft = Draft([*cast, *extras], rng)
    before, after = side_sentences(rng, setting)
    for line in before:
        draft.write(line, {})
    if link == "none":
        for line, key in plain_sentences(rng, cast, rng.randint(2, 3)):
            draft.write(line, {"x": key})
    else:
        for marks in sentences_for(acts, link, draft.cast, rng, scenery(rng, setting)):
            table: dict[int, _Triplet] = {}
            for mark in marks.marks:
                table |= _triplets(mark.act, acts[mark.act], mark)
            for markup in marks.lines:
                draft.write(markup, marks.roles, table)
            draft.triplets += [t for t in table.values() if t.pieces]
    told = [actor for actor in cast if draft.nouns[actor.key]]
    if rng.random() < 0.45:
        line, key = plain_sentences(rng, told, 1)[0]
        draft.write(line, {"x": key})
    for extra in extras:
        draft.write(rng.choice(("{x} is nearby", "Off to one side, {x} can be seen", "{x} stays in the background")),
                    {"x": extra.key})  # fmt: skip
    if rng.random() < 0.2:
        draft.write(rng.choice(camera_sentences()), {"x": told[0].key})
    for line in after:
        draft.write(line, {})
    return draft.finish()
