"""Tagged tokens to the pieces of a sentence: noun phrases, verb groups and what stands between.

A noun phrase takes in what tells its referent apart: "man in the red shirt", "ball on the left". Its range leaves out
the article. A verb group holds auxiliaries and head verb; particles join it when the clause is read.
"""

from collections.abc import Sequence
from functools import lru_cache

from tasks.grammar import nouns
from tasks.grammar.nouns import word_set
from tasks.grammar.pieces import Mark, Phrase, Piece, VerbGroup
from tasks.grammar.tagging import Form, Tagged, tag
from tasks.grammar.tokens import Token, sentence_ranges, tokenize

_SIDES = word_set("left right upper lower top bottom front middle central")
_GROUPS = word_set("group pair couple crowd team flock herd pack set number piece slice chunk bit strand")


def chunk_sentence(text: str, start: int, end: int) -> list[Piece]:
    """The pieces of one sentence of `text`, in order."""
    return _Chunker(tag(tokenize(text, start, end)), text).run()


def chunk(text: str) -> list[list[Piece]]:
    """The pieces of each sentence."""
    return [chunk_sentence(text, start, end) for start, end in sentence_ranges(text)]


@lru_cache(maxsize=4096)
def first_phrase(words: str) -> Phrase | None:
    """The first noun phrase of a few words that is no pronoun, as descriptors give it."""
    return next((p for pieces in chunk(words) for p in pieces if isinstance(p, Phrase) and not p.pronoun), None)


class _Chunker:
    def __init__(self, words: Sequence[Tagged], text: str) -> None:
        self.words, self.text = words, text

    def run(self) -> list[Piece]:
        pieces: list[Piece] = []
        i = 0
        while i < len(self.words):
            phrase = self._phrase(i)
            if phrase:
                pieces.append(phrase[0])
                i = phrase[1]
                continue
            group = self._verb_group(i)
            if group:
                pieces.append(group[0])
                i = group[1]
                continue
            pieces.append(Mark(self.words[i].tag, self.words[i].token))
            i += 1
        return pieces

    def _tag(self, i: int) -> str:
        return self.words[i].tag if 0 <= i < len(self.words) else "stop"

    def _low(self, i: int) -> str:
        return self.words[i].low if 0 <= i < len(self.words) else "."

    def _phrase(self, i: int) -> tuple[Phrase, int] | None:
        """A noun phrase with what follows and belongs to it."""
        core = self._core(i)
        if core is None:
            return None
        phrase, i = core
        if phrase.pronoun:
            return phrase, i
        worn, places = list(phrase.worn), set(phrase.places)
        end = phrase.end
        while True:
            if self._low(i) == "of" and (inner := self._core(i + 1)) and not inner[0].pronoun:
                if phrase.head in _GROUPS:
                    phrase = Phrase(
                        phrase.start, inner[0].end, inner[0].head, phrase.determiner,
                        phrase.modifiers + inner[0].modifiers, inner[0].plural,
                    )  # fmt: skip
                end, i = inner[0].end, inner[1]
                continue
            clothes = self._clothes(i, phrase)
            if clothes:
                worn += clothes[0]
                end, i = self.words[clothes[1] - 1].token.end, clothes[1]
                continue
            place = self._place(i)
            if place:
                places |= place[0]
                end, i = self.words[place[1] - 1].token.end, place[1]
                continue
            break
        return Phrase(
            phrase.start, end, phrase.head, phrase.determiner, phrase.modifiers, phrase.plural, False, tuple(worn),
            frozenset(places),
        ), i  # fmt: skip

    def _core(self, i: int) -> tuple[Phrase, int] | None:
        """Determiners, modifiers and head, or a pronoun. "the man's" is a determiner of what follows it."""
        if self._tag(i) == "pron":
            token = self.words[i].token
            return Phrase(token.start, token.end, token.low, pronoun=True), i + 1
        owner: str | None = None
        whole: tuple[Phrase, int] | None = None
        while True:
            begin = i
            found = self._simple(i, owner)
            if found is None:
                return whole
            whole, i = found, found[1]
            if self._tag(i) != "genitive":
                return whole
            owner = self.text[self.words[begin].token.start : self.words[i - 1].token.end].lower() + "'s"
            i += 1

    def _simple(self, i: int, owner: str | None) -> tuple[Phrase, int] | None:
        """Determiners, modifiers and head, without owners."""
        determiners = [owner] if owner else []
        modifiers: list[str] = []
        first: int | None = None
        begin = i
        while self._tag(i) in ("det", "poss", "num", "adj") or self._between(i, begin):
            word = self.words[i]
            if word.tag in ("det", "poss"):
                if first is not None:
                    break
                determiners.append(word.low)
            elif word.tag in ("num", "adj"):
                first = i if first is None else first
                (determiners if word.tag == "num" and not modifiers else modifiers).append(word.low)
            i += 1
        head = i
        while self._tag(i) == "noun":
            i += 1
        if i == head:
            return self._headless(begin, i, determiners, modifiers, first)
        first = head if first is None else first
        modifiers += [self.words[j].low for j in range(head, i - 1)]
        last = self.words[i - 1]
        places = frozenset(modifiers) & _SIDES
        return Phrase(
            self.words[first].token.start, last.token.end, last.lemma, " ".join(determiners), tuple(modifiers),
            nouns.is_plural(last.low), places=places,
        ), i  # fmt: skip

    def _between(self, i: int, begin: int) -> bool:
        """A comma, "and" or adverb between adjectives: "small, red", "brown and white", "very small"."""
        if self._tag(i) == "adv" and self._tag(i + 1) == "adj":
            return i == begin or self._tag(i - 1) in ("det", "poss", "adj")
        link = self._low(i) in (",", "and")
        if not link or i == begin or self._tag(i - 1) != "adj" or self._tag(i + 1) != "adj":
            return False
        j = i + 1
        while self._tag(j) == "adj":
            j += 1
        return self._tag(j) == "noun"

    def _headless(
        self, begin: int, i: int, determiners: list[str], modifiers: list[str], first: int | None
    ) -> tuple[Phrase, int] | None:
        """ "the other", "another", "one" and "the red one" without a noun; other loose words are no phrase."""
        words = set(determiners) | set(modifiers)
        if i == begin or not words & {"other", "another", "one", "two", "second", "first", "both", "this"}:
            return None
        start = self.words[begin if first is None else first].token.start
        if {"each", "other"} <= words or {"one", "another"} <= words:
            return Phrase(start, self.words[i - 1].token.end, "themselves", pronoun=True), i
        return Phrase(start, self.words[i - 1].token.end, "", " ".join(determiners), tuple(modifiers)), i

    def _clothes(self, i: int, phrase: Phrase) -> tuple[list[tuple[str, frozenset[str]]], int] | None:
        """ "in a red shirt and blue jeans", "wearing a hat", "with long hair", "in red", for people and animals."""
        if not phrase.living and phrase.head not in ("doll", "mannequin", "one", ""):
            return None
        link = self._low(i)
        if link == "dressed" and self._low(i + 1) == "in":
            i, link = i + 1, "in"
        if link not in ("in", "wearing", "with"):
            return None
        worn: list[tuple[str, frozenset[str]]] = []
        i += 1
        while True:
            inner = self._core(i)
            hair = inner and link == "with" and inner[0].head in nouns.BODY and inner[0].modifiers
            if inner and (hair or inner[0].head in nouns.GARMENTS):
                worn.append((inner[0].head, frozenset(inner[0].modifiers)))
                i = inner[1]
            elif link == "in" and self._low(i) in nouns.COLOURS and self._tag(i + 1) not in ("noun", "adj"):
                worn.append(("", frozenset({self._low(i)})))
                i += 1
            else:
                break
            joint = 2 if self._low(i) == "," and self._low(i + 1) == "and" else 1
            following = self._core(i + joint) if self._low(i) in ("and", ",") else None
            if following is None or following[0].head not in nouns.GARMENTS:
                return worn, i
            i += joint
        return (worn, i) if worn else None

    def _place(self, i: int) -> tuple[frozenset[str], int] | None:
        """ "on the left", "in the lower right corner", "to the right side", "in the foreground"."""
        if self._low(i) not in ("on", "in", "at", "to"):
            return None
        inner = self._core(i + 1)
        if inner is None or inner[0].pronoun:
            return None
        words = {inner[0].head, *inner[0].modifiers}
        if inner[0].head not in nouns.PLACE_WORDS | {"side", "half", "edge", "part"}:
            return None
        if inner[0].head in ("corner", "back", "front", "bottom", "top") and self._low(inner[1]) == "of":
            return None
        named = words & (nouns.PLACE_WORDS | {"upper", "lower"})
        return (frozenset(named), inner[1]) if named - {"corner"} else None

    def _verb_group(self, i: int) -> tuple[VerbGroup, int] | None:
        if self._tag(i) not in ("aux", "verb", "to"):
            return None
        infinitive = self._tag(i) == "to"
        begin = i
        tokens: list[Token] = []
        aux: list[Tagged] = []
        negated = False
        if infinitive:
            i += 1
        while self._tag(i) in ("aux", "adv", "neg"):
            word = self.words[i]
            if word.tag == "neg" or word.lemma == "do not":
                negated = True
            if word.tag == "aux":
                aux.append(word)
                tokens.append(word.token)
            i += 1
        if self._tag(i) != "verb":
            if not aux:
                return None
            while self._tag(i - 1) == "adv":
                i -= 1
            last = aux[-1]
            lemma = last.lemma if last.lemma in ("be", "have", "do") else "be"
            form: Form = "ing" if last.low in ("being", "having") and len(aux) == 1 else "base"
            return VerbGroup((last.token,), lemma, form, form != "ing", infinitive=infinitive, negated=negated), i
        verb = self.words[i]
        assert verb.form is not None
        tokens.append(verb.token)
        negated = negated or (begin > 0 and self._low(begin - 1) in ("not", "never", "without"))
        be = bool(aux) and aux[-1].lemma == "be"
        passive = be and verb.form in ("participle", "past")
        finite = aux[0].low not in ("being", "having") if aux else verb.form in ("third", "past", "base")
        return VerbGroup(
            tuple(tokens), verb.lemma, verb.form, finite=finite and not infinitive, passive=passive,
            infinitive=infinitive, negated=negated,
            modal=any(a.lemma == "modal" for a in aux),
        ), i + 1  # fmt: skip
