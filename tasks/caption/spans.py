"""Where a triplet's roles stand in the caption: subject and object nouns with modifiers, the whole verb (paper §4).

Works for any language model, from text alone: the verb is found by its lemma, a noun phrase by its head and by the
words that tell it apart, and both by how the sentence is built. A role that its sentence names by a pronoun only is
given the span of the latest noun phrase before that means it, because a pronoun's token says little about what is seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas import RoleSpans, Span
from tasks.caption.quotes import find_quote
from tasks.grammar.chunks import chunk, chunk_sentence, first_phrase
from tasks.grammar.clauses import Clause, read_clauses
from tasks.grammar.entities import Entity
from tasks.grammar.nouns import ADVERBS, PREPOSITIONS, singular
from tasks.grammar.pieces import Phrase, Piece, VerbGroup
from tasks.grammar.tokens import Token, tokenize
from tasks.grammar.verbs import BE, DO, HAVE, MODALS, guess_lemmas

Names = tuple[str, str, str]
"""(cls, distinguishable noun, phrase as the caption has it) of one ID."""

_AUXILIARIES = BE | HAVE | DO | MODALS | {"to", "get", "gets", "getting", "got"}


@dataclass(frozen=True)
class Roles:
    """One triplet in words."""

    verb: str
    subject: Names
    object: Names
    sentence: str
    others: tuple[Names, ...] = ()
    """The other IDs of the clip: a phrase that fits one of them better is not taken."""


def locate(text: str, roles: Roles) -> tuple[RoleSpans, Span] | str:
    """The spans of the three roles and of the source sentence, or which role cannot be found."""
    sentence = find_quote(text, roles.sentence)
    if sentence is None:
        return "the source sentence does not stand in the caption"
    pieces = chunk_sentence(text, sentence.start, sentence.end)
    clauses = read_clauses(pieces)
    tokens = tokenize(text, sentence.start, sentence.end)
    heads = _verb_heads(roles.verb, tokens, pieces)
    if not heads:
        return f"verb {roles.verb!r}"
    subject = _Role(roles.subject, (roles.object, *roles.others))
    target = _Role(roles.object, (roles.subject, *roles.others))
    best: tuple[float, Token, Phrase, Phrase] | None = None
    missing = "subject"
    for head, weight in heads:
        clause = next((c for c in clauses if head in c.verb.tokens), None)
        doers = clause.doers if clause else []
        s_ranked = subject.ranked(text, sentence, pieces, head, doers, before=not (clause and clause.passive))
        o_ranked = target.ranked(text, sentence, pieces, head, _targets(clause), before=bool(clause and clause.passive))
        if not s_ranked or not o_ranked:
            missing = "subject" if not s_ranked else "object"
            continue
        for pair in ((s, o) for s in s_ranked[:3] for o in o_ranked[:3]):
            (s_score, s), (o_score, o) = pair
            if s.end <= o.start or o.end <= s.start:
                score = weight + s_score + o_score
                if best is None or score > best[0]:
                    best = (score, head, s, o)
    if best is None:
        return f"{missing} of {roles.verb!r}"
    _, head, s, o = best
    verb = _verb_spans(roles.verb, head, o, tokens, pieces, clauses)
    return RoleSpans(subject=(_span(s),), verb=verb, object=(_span(o),)), sentence


def _span(part: Phrase | Token) -> Span:
    return Span(start=part.start, end=part.end)


def _targets(clause: Clause | None) -> list[Phrase]:
    """Everything in a clause that the verb may act on."""
    if clause is None:
        return []
    groups = [*clause.objects, *(group for word, group in clause.obliques if word.low != "by")]
    return [p for group in groups for p in group] + (clause.subjects if clause.passive else [])


def _content(verb: str) -> list[str]:
    """The words of a surface verb without auxiliaries and adverbs: head first, then particles."""
    words = [w for w in verb.lower().split() if not w.endswith("ly")] or verb.lower().split()
    while len(words) > 1 and words[0] in _AUXILIARIES:
        words = words[1:]
    return words


def _verb_heads(verb: str, tokens: Sequence[Token], pieces: Sequence[Piece]) -> list[tuple[Token, float]]:
    """Tokens of the sentence that are a form of the verb, each with how sure it is one."""
    lemmas = guess_lemmas(_content(verb)[0])
    groups = {p.tokens[-1].start for p in pieces if isinstance(p, VerbGroup)}
    inside = [(p.start, p.end) for p in pieces if isinstance(p, Phrase)]
    found = []
    for token in tokens:
        if guess_lemmas(token.low) & lemmas:
            in_phrase = any(a <= token.start < b for a, b in inside)
            found.append((token, 4.0 if token.start in groups else -4.0 if in_phrase else 0.0))
    return found


def _verb_spans(
    verb: str, head: Token, target: Phrase, tokens: Sequence[Token], pieces: Sequence[Piece], clauses: Sequence[Clause]
) -> tuple[Span, ...]:
    """Auxiliaries, head and particles, joined where only white space lies between."""
    group = next((p for p in pieces if isinstance(p, VerbGroup) and head in p.tokens), None)
    clause = next((c for c in clauses if head in c.verb.tokens), None)
    parts = list(group.tokens) if group else [head]
    others = [c.verb.tokens[-1].start for c in clauses if c.verb.tokens[-1].start > head.start]
    limit = min(others, default=tokens[-1].end)
    for word in _content(verb)[1:]:
        after = [t for t in tokens if t.low == word and head.end <= t.start and t not in parts]
        introducing = [t for t in after if t.end <= target.start and not _words_between(tokens, t, target)]
        near = [t for t in after if t.start < limit and (word in ADVERBS | PREPOSITIONS)]
        parts += (introducing or near)[:1]
    if clause:
        parts += [t for t in clause.particles if t not in parts]
    spans: list[Span] = []
    order = [t.start for t in tokens]
    for part in sorted(parts, key=lambda t: t.start):
        if spans and order.index(part.start) > 0 and tokens[order.index(part.start) - 1].end == spans[-1].end:
            spans[-1] = Span(start=spans[-1].start, end=part.end)
        else:
            spans.append(_span(part))
    return tuple(spans)


def _words_between(tokens: Sequence[Token], word: Token, target: Phrase) -> bool:
    """Whether more than a determiner stands between a preposition and the phrase it introduces."""
    return sum(word.end <= t.start < target.start for t in tokens) > 1


class _Role:
    """One end of a triplet: what it is called, and what the other IDs are called."""

    def __init__(self, names: Names, others: Iterable[Names]) -> None:
        self.names = names
        self.own = _descriptions(names)
        self.others = [d for other in others for d in _descriptions(other)]

    def ranked(
        self, text: str, sentence: Span, pieces: Sequence[Piece], verb: Token, expected: Sequence[Phrase], before: bool
    ) -> list[tuple[float, Phrase]]:
        """Phrases that may be this role, best first. `expected`: what the grammar gives it; `before`: usual side."""
        quoted = find_quote(text, self.names[2])
        found = []
        for phrase in (p for p in pieces if isinstance(p, Phrase) and not p.pronoun):
            fit = self._fit(phrase)
            if fit is not None:
                side = 1.0 if (phrase.end <= verb.start) == before else 0.0
                near = -min(abs(phrase.start - verb.start), 200) / 100
                exact = 2.0 if quoted and quoted.start <= phrase.start and phrase.end <= quoted.end else 0.0
                found.append((fit + side + near + exact + 6.0 * (phrase in expected), phrase))
        if not found:
            found = self._earlier(text, sentence) or self._bare(text, sentence)
        return sorted(found, key=lambda pair: -pair[0])

    def _fit(self, phrase: Phrase) -> float | None:
        """How well a phrase names this ID, less how well it names another; None where it cannot mean it."""
        own = _best_fit(self.own, phrase)
        if own is None:
            return None
        rival = _best_fit(self.others, phrase)
        return own - (0.0 if rival is None else 1.5 * max(0, rival - own))

    def _earlier(self, text: str, sentence: Span) -> list[tuple[float, Phrase]]:
        """The antecedent: of the phrases before the sentence that fit best, the latest."""
        phrases = [p for s in chunk(text[: sentence.start]) for p in s if isinstance(p, Phrase) and not p.pronoun]
        fits = [(fit, p) for p in phrases if (fit := self._fit(p)) is not None and fit >= 0]
        return [(fit / 10 + p.start / (10 * len(text)), p) for fit, p in fits]

    def _bare(self, text: str, sentence: Span) -> list[tuple[float, Phrase]]:
        """A class noun that the grammar did not take for the head of a phrase, as in broken or verbless text."""
        heads = {d.head for d in self.own}
        tokens = tokenize(text, 0, sentence.end)
        words = [t for t in tokens if t.low in heads or singular(t.low) in heads]
        return [(-8.0 + t.start / len(text), Phrase(t.start, t.end, singular(t.low))) for t in words]


def _descriptions(names: Names) -> list[Entity]:
    """An ID's names as entities that phrases can be held against: by its phrases' own heads, and by its class."""
    cls, noun, phrase = names
    known = []
    for words in (phrase, noun):
        core = first_phrase(words)
        for head in dict.fromkeys((core.head if core else cls, cls)):
            entity = Entity(head=head, plural=False)
            if core:
                entity.learn(core)
            known.append(entity)
    return known


def _best_fit(entities: Sequence[Entity], phrase: Phrase) -> int | None:
    fits = []
    for entity in entities:
        entity.plural = phrase.plural
        fit = entity.fits(phrase)
        if fit is not None:
            fits.append(fit)
    return max(fits, default=None)
