"""Pieces of a sentence to clauses: which verb has which subject, objects and prepositional phrases.

One pass from left to right with a little looking ahead. It knows main and subordinate clauses, coordination, relative
clauses, participles before and after their noun, infinitives, passives and verb particles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.grammar.pieces import Mark, Phrase, Piece, VerbGroup
from tasks.grammar.tokens import Token
from tasks.grammar.verbs import INTENT, OBJECT_CONTROL, PARTICLES, PHRASAL


@dataclass
class Clause:
    """One verb with its arguments, as the grammar has them: in a passive the subject is the one acted on."""

    verb: VerbGroup
    subjects: list[Phrase]
    passive: bool = False
    real: bool = True
    """False where the act is denied, wished for or merely possible."""
    by_tool: bool = False
    """Done by what another clause says is used: "uses a stick to push"."""
    objects: list[list[Phrase]] = field(default_factory=list)
    """Each entry is one object, with its coordinated parts."""
    obliques: list[tuple[Token, list[Phrase]]] = field(default_factory=list)
    particles: list[Token] = field(default_factory=list)

    @property
    def doers(self) -> list[Phrase]:
        """Who acts: the agent of a passive, else the subject."""
        if not self.passive:
            return self.subjects
        return next((group for word, group in self.obliques if word.low == "by"), [])


def read_clauses(pieces: Sequence[Piece]) -> list[Clause]:
    """The clauses of one sentence, in the order of their verbs."""
    return _Reader(pieces).run()


class _Reader:
    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.clauses: list[Clause] = []
        self.main: list[Phrase] = []
        self.main_has_verb = False
        self.current: Clause | None = None
        self.pending: list[Clause] = []
        """Participles that stand before their subject."""
        self.last: list[Phrase] = []
        self.relative_object: list[Phrase] = []
        self.preposition: Token | None = None
        self.state = "start"
        """What stands before: start, subject, verb, object, oblique, prep, comma, conj, sub, rel."""

    def run(self) -> list[Clause]:
        i = 0
        while i < len(self.pieces):
            piece = self.pieces[i]
            if isinstance(piece, Phrase):
                i = self._phrase(i)
            elif isinstance(piece, VerbGroup):
                self._verb(i, piece)
                i += 1
            else:
                self._mark(i, piece)
                i += 1
        return self.clauses

    # noun phrases

    def _phrase(self, i: int) -> int:
        subject_place = self.state in ("start", "sub", "comma", "conj", "rel")
        opens = self.state in ("start", "sub", "rel") or (subject_place and self._leads_to_verb(i + 1))
        group, j = self._group(i, opens)
        if self.state == "prep":
            assert self.preposition is not None
            if self.current:
                self.current.obliques.append((self.preposition, group))
            self.state = "oblique" if self.current or not self.main else "subject"
        elif self.state == "rel":
            self.relative_object, self.last = self.last, group
            self.state = "inner subject"
            return j
        elif subject_place and (self.current is None or self._leads_to_verb(j)):
            self.main, self.main_has_verb = group, False
            if self.state == "start" or not (self.current and self.current in self.pending):
                self.current = None
            self.state = "subject"
        elif self.current and self.state in ("verb", "object"):
            self.current.objects.append(group)
            self.state = "object"
        elif self.current and self.current.objects and not self.current.obliques:
            self.current.objects[-1] += group
            self.state = "object"
        else:
            self.state = "oblique"
        self.last = group
        return j

    def _group(self, i: int, subject: bool) -> tuple[list[Phrase], int]:
        """A phrase with those coordinated to it. As a subject it takes "and X" although a verb follows X."""
        first = self.pieces[i]
        assert isinstance(first, Phrase)
        group, j = [first], i + 1
        while True:
            k = j
            while k < len(self.pieces) and self._is_mark(k, "comma", ","):
                k += 1
            joined = self._is_mark(k, "conj", "and") or self._is_mark(k, "conj", "or")
            k += joined
            if k == j or k >= len(self.pieces):
                return group, j
            following = self.pieces[k]
            if not isinstance(following, Phrase) or (not joined and not self._more_of_list(k + 1)):
                return group, j
            if not subject and self._leads_to_verb(k + 1):
                return group, j
            group.append(following)
            j = k + 1

    def _more_of_list(self, k: int) -> bool:
        """Whether "a man, a woman" goes on with "and": only then is it a list."""
        while k < len(self.pieces) and (self._is_mark(k, "comma", ",") or isinstance(self.pieces[k], Phrase)):
            k += 1
        return self._is_mark(k, "conj", "and")

    def _leads_to_verb(self, k: int, finite: bool = False) -> bool:
        """Whether a verb follows that the phrase before `k` can be the subject of; if need be a finite one."""
        while k < len(self.pieces):
            piece = self.pieces[k]
            if isinstance(piece, VerbGroup):
                return piece.finite or not (finite or piece.infinitive)
            if isinstance(piece, Mark) and piece.tag == "rel":
                return not finite
            if isinstance(piece, Mark) and piece.tag in ("comma", "stop", "sub", "conj"):
                return False
            k += 1
        return False

    def _is_mark(self, k: int, tag: str, low: str | None = None) -> bool:
        piece = self.pieces[k] if k < len(self.pieces) else None
        return isinstance(piece, Mark) and piece.tag == tag and (low is None or piece.low == low)

    # verbs

    def _verb(self, i: int, verb: VerbGroup) -> None:
        clause = self._infinitive(verb) if verb.infinitive else None
        clause = clause or self._reduced_passive(i, verb)
        clause = clause or (self._finite(verb) if verb.finite else self._participle(verb))
        if verb.negated or (verb.modal and verb.lemma != "see"):
            clause.real = False
        if self.relative_object and self.state == "inner subject":
            clause.objects.append(self.relative_object)
            self.relative_object = []
        self.clauses.append(clause)
        self.current = clause
        self.state = "verb"

    def _infinitive(self, verb: VerbGroup) -> Clause:
        governor = self.current
        if governor is None:
            return self._wait_for_subject(Clause(verb, [], passive=verb.passive))
        subjects = governor.doers or governor.subjects
        if governor.verb.lemma in OBJECT_CONTROL:
            subjects = governor.subjects if governor.passive else governor.objects[-1] if governor.objects else subjects
        real = governor.real and governor.verb.lemma not in INTENT
        by_tool = governor.verb.lemma == "use" and not governor.passive
        clause = Clause(verb, subjects, passive=verb.passive, real=real, by_tool=by_tool)
        if governor in self.pending:
            self.pending.append(clause)
        return clause

    def _reduced_passive(self, i: int, verb: VerbGroup) -> Clause | None:
        """ "a ball kicked by a boy": a participle without auxiliary and with an agent."""
        k = i + 1
        while k < len(self.pieces) and self._is_mark(k, "adv"):
            k += 1
        agent = self._is_mark(k, "prep", "by") and k + 1 < len(self.pieces) and isinstance(self.pieces[k + 1], Phrase)
        if not agent or len(verb.tokens) > 1 or verb.form not in ("past", "participle") or self.state == "rel":
            return None
        if self.state == "start" or not self.last:
            return self._wait_for_subject(Clause(verb, [], passive=True))
        return Clause(verb, self.main if self.state == "comma" and self.main else self.last, passive=True)

    def _finite(self, verb: VerbGroup) -> Clause:
        before, current = self.state, self.current
        real = True
        if before in ("rel", "inner subject"):
            subjects = self.last[-1:] if before == "rel" else self.last
        elif before == "subject" or (self.main and not self.main_has_verb and before != "conj"):
            subjects, self.main_has_verb = self.main, True
            by_tool = any(waiting.verb.lemma == "use" for waiting in self.pending)
            for waiting in self.pending:
                waiting.subjects = waiting.subjects or self.main
            self.pending = []
            return Clause(verb, subjects, passive=verb.passive, by_tool=by_tool)
        elif before in ("object", "oblique") and current and verb.form == "base":
            subjects = self.last
        elif before == "conj" and current:
            subjects = current.subjects
            real = current.real or verb.form != "base"
        else:
            subjects = self.main
        return Clause(verb, subjects, passive=verb.passive, real=real)

    def _participle(self, verb: VerbGroup) -> Clause:
        before, current = self.state, self.current
        if before in ("start", "sub", "prep") and not (self.main and self.main_has_verb):
            return self._wait_for_subject(Clause(verb, [], passive=verb.passive))
        subjects, real = self.main, True
        if verb.lemma == "use" and current and before in ("object", "oblique", "comma", "sub"):
            current.by_tool = True
        if before == "subject":
            subjects = self.last
        elif current and before == "verb":
            subjects, real = current.subjects, current.real and current.verb.lemma not in INTENT
        elif current and before == "conj":
            subjects, real = current.subjects, current.real
            if current in self.pending:
                return self._wait_for_subject(Clause(verb, subjects, passive=verb.passive))
        elif before in ("object", "oblique") and all(p.living or p.pronoun for p in self.last) and not (
            verb.lemma == "use" and current and any(p.living or p.pronoun for p in current.doers)
        ):  # fmt: skip
            subjects = self.last
        elif current:
            subjects = current.doers or current.subjects or self.main
        return Clause(verb, subjects, passive=verb.passive, real=real)

    def _wait_for_subject(self, clause: Clause) -> Clause:
        self.pending.append(clause)
        return clause

    # other words

    def _mark(self, i: int, mark: Mark) -> None:
        tag = mark.tag
        if tag == "sub" and not self._opens_clause(i):
            tag = "prep"
        if tag == "comma":
            if self.current or self.main:
                self.state = "comma"
            else:
                self.state = "start"
        elif tag == "stop":
            self.state = "start"
        elif tag in ("conj", "sub", "rel"):
            self.state = tag
        elif tag == "prep" or tag == "to":
            self._preposition(i, mark)
        elif mark.low == "then" and self.current and self.state in ("verb", "object", "oblique"):
            self.state = "conj"
        elif tag == "adv" and mark.low in PARTICLES and self.current and self.state in ("verb", "object"):
            self.current.particles.append(mark.token)

    def _opens_clause(self, i: int) -> bool:
        """Whether "before", "after", "as" opens a clause here; else it is a preposition."""
        k = i + 1
        while k < len(self.pieces) and self._is_mark(k, "adv"):
            k += 1
        if k >= len(self.pieces):
            return False
        following = self.pieces[k]
        if isinstance(following, VerbGroup):
            return True
        mark = self.pieces[i]
        always = isinstance(mark, Mark) and mark.low in ("while", "when", "because", "although", "though", "whereas")
        return always or (isinstance(following, Phrase) and self._leads_to_verb(k + 1, finite=True))

    def _preposition(self, i: int, mark: Mark) -> None:
        following = self.pieces[i + 1] if i + 1 < len(self.pieces) else None
        if isinstance(following, Mark) and following.tag in ("adv", "det") and i + 2 < len(self.pieces):
            following = self.pieces[i + 2]
        if isinstance(following, VerbGroup):
            self.state = "sub" if self.state != "start" else "start"
        elif not isinstance(following, Phrase):
            if self.current and mark.low in PARTICLES and self.state in ("verb", "object"):
                self.current.particles.append(mark.token)
        elif self.current and self.state == "verb" and mark.low in PHRASAL.get(self.current.verb.lemma, ()):
            self.current.particles.append(mark.token)
        else:
            self.preposition = mark.token
            self.state = "prep"
