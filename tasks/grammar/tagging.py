"""Tokens to tagged tokens: one word class each, chosen from what the word can be and from its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.grammar import nouns
from tasks.grammar.nouns import word_set
from tasks.grammar.tokens import Token
from tasks.grammar.verbs import BE, DO, HAVE, MODALS, verb_forms

Tag = Literal[
    "noun", "adj", "det", "poss", "num", "pron", "verb", "aux", "prep", "conj", "sub", "rel", "to", "adv", "neg",
    "genitive", "comma", "stop",
]  # fmt: skip
Form = Literal["base", "third", "past", "participle", "ing"]


@dataclass(frozen=True)
class Tagged:
    """A token with its word class; verbs with their lemma and form."""

    token: Token
    tag: Tag
    lemma: str
    form: Form | None = None

    @property
    def low(self) -> str:
        return self.token.low


_STOPS = frozenset(".!?;:…")
_COMMAS = frozenset(",-–—()[]/")
_NOUN_OR_SMALL = word_set("left right front back outside inside past near opposite round well straight")


def tag(tokens: Sequence[Token]) -> list[Tagged]:
    """The tokens of one sentence with their word classes."""
    out: list[Tagged] = []
    for i, token in enumerate(tokens):
        out.append(_tag_one(token, i, tokens, out))
    return out


def _tag_one(token: Token, i: int, tokens: Sequence[Token], before: list[Tagged]) -> Tagged:
    low = token.low
    after = tokens[i + 1].low if i + 1 < len(tokens) else "."
    previous = before[-1] if before else None
    if not low[0].isalnum() and low[0] != "'":
        return Tagged(token, "stop" if low in _STOPS else "comma" if low in _COMMAS else "adv", low)
    if low in ("'s", "'re", "'m", "'ve", "'ll", "'d"):
        if previous and previous.tag == "noun":
            return Tagged(token, "genitive", low)
        return Tagged(token, "aux", {"'ve": "have", "'ll": "will", "'d": "would"}.get(low, "be"))
    closed = _closed(token, low, after, previous)
    if closed:
        return closed
    return _open(token, low, i, tokens, before)


def _closed(token: Token, low: str, after: str, previous: Tagged | None) -> Tagged | None:
    """Small words: one table look-up each, a few decided by their neighbours."""
    if low.endswith("n't"):
        return Tagged(token, "aux", "do not")
    if low in BE | HAVE | DO and not (low in HAVE | DO and previous and previous.tag in ("det", "adj")):
        return Tagged(token, "aux", "be" if low in BE else "have" if low in HAVE else "do")
    if low in MODALS and not (previous and previous.tag in ("det", "adj", "poss")):
        return Tagged(token, "aux", "modal")
    if low in nouns.NEGATIONS and low != "without":
        return Tagged(token, "det" if low == "no" else "neg", low)
    if low == "her":
        follows_noun_phrase = _starts_phrase(after) and after not in nouns.DETERMINERS | nouns.POSSESSIVES
        return Tagged(token, "poss" if follows_noun_phrase else "pron", low)
    if low in nouns.POSSESSIVES:
        return Tagged(token, "poss", low)
    if low in nouns.SUBJECT_PRONOUNS | nouns.OBJECT_PRONOUNS | nouns.REFLEXIVES:
        return Tagged(token, "pron", low)
    if low == "that" or low in nouns.RELATIVES:
        follows = previous is not None and (previous.tag in ("noun", "pron", "prep", "comma"))
        if low == "that" and not (follows and (_may_be_verb(after) or _starts_phrase(after))):
            return Tagged(token, "det", low)
        return Tagged(token, "rel", low)
    if low in ("both", "either", "neither", "one") and after in ("of", "and"):
        return Tagged(token, "det" if low != "one" else "noun", low)
    if low == "one" and previous is not None and previous.tag in ("det", "adj"):
        return Tagged(token, "noun", low)
    if low in nouns.NUMBERS or low.isdigit():
        return Tagged(token, "num", low)
    if low in nouns.DETERMINERS:
        return Tagged(token, "det", low)
    if low == "to":
        base = any(form == "base" for _, form in verb_forms(after)) or after in nouns.ADVERBS or after == "be"
        return Tagged(token, "to" if base else "prep", low)
    if low == "so" or (low == "like" and previous is not None and previous.tag != "to"):
        return Tagged(token, "prep" if low == "like" else "adv", low)
    if low == "then":
        return Tagged(token, "adv", low)
    if low in nouns.CONJUNCTIONS:
        return Tagged(token, "conj", low)
    if low in ("before", "after", "as", "until", "since"):
        return Tagged(token, "sub", low)
    if low in nouns.SUBORDINATORS:
        return Tagged(token, "sub", low)
    noun_position = previous is not None and previous.tag in ("det", "poss", "adj", "num")
    if low in _NOUN_OR_SMALL:
        if noun_position:
            return Tagged(token, "adj" if _starts_phrase(after) and after not in nouns.ADVERBS else "noun", low)
        if low == "left" and previous is not None and previous.tag in ("noun", "pron") and _starts_phrase(after):
            return None
        if low in ("left", "right", "front", "round"):
            return Tagged(token, "adj" if low in ("left", "right") and _starts_phrase(after) else "noun", low)
    if low in nouns.PREPOSITIONS and not (noun_position and low in ("down", "round")):
        return Tagged(token, "prep", low)
    if low in nouns.ADVERBS:
        return Tagged(token, "neg" if low in nouns.NEGATIONS else "adv", low)
    return None


def _open(token: Token, low: str, i: int, tokens: Sequence[Token], before: list[Tagged]) -> Tagged:
    """Nouns, verbs, adjectives and adverbs: what the word can be, then what its neighbours let it be."""
    previous = before[-1] if before else None
    kind = previous.tag if previous else None
    after = tokens[i + 1].low if i + 1 < len(tokens) else "."
    forms = verb_forms(low)
    lemma = nouns.singular(low)
    noun = lemma in _NOUNS or low in _NOUNS
    adjective = low in nouns.ADJECTIVES or ("-" in low and low.rsplit("-", 1)[-1].endswith("ed"))
    guessed = not forms and not noun and not adjective
    if low.endswith("ly") and guessed:
        return Tagged(token, "adv", low)
    if guessed:
        forms = _guess_forms(low)
    if low in nouns.MATERIALS and kind is not None and not _continues_phrase(after):
        return Tagged(token, "noun", low)
    if low in nouns.COLOURS and previous and previous.low == "in" and _ends_colour(i, tokens):
        return Tagged(token, "noun", low)
    in_phrase = kind in ("det", "poss", "adj", "num", "genitive")
    if adjective and (not noun or low in nouns.COLOURS) and not (forms and not in_phrase and kind != "aux"):
        return Tagged(token, "noun" if in_phrase and low in nouns.COLOURS and not _starts_phrase(after) and noun
                      else "adj", low)  # fmt: skip
    modifier = {"ing", "participle", "past"} & {form for _, form in forms}
    if in_phrase:
        if adjective or (modifier and _continues_phrase(after)):
            return Tagged(token, "adj", low)
        return Tagged(token, "noun", lemma)
    if forms and _verb_fits(kind, forms, noun or guessed, after, before):
        verb, form = _pick(forms, before)
        return Tagged(token, "verb", verb, form)
    if adjective:
        return Tagged(token, "adj", low)
    return Tagged(token, "noun", lemma)


def _ends_colour(i: int, tokens: Sequence[Token]) -> bool:
    """Whether "in red" ends here: "in red pushes a box", "in red pushing a box", but not "in red running shoes"."""
    after = [t.low for t in tokens[i + 1 : i + 3]] + [".", "."]
    if not _continues_phrase(after[0]):
        return True
    if any(form == "ing" for _, form in verb_forms(after[0])):
        small = nouns.DETERMINERS | nouns.POSSESSIVES | nouns.NUMBERS | nouns.PREPOSITIONS | nouns.OBJECT_PRONOUNS
        return after[1] in small | nouns.ADVERBS
    finite = any(form in ("third", "past") for _, form in verb_forms(after[0]))
    return finite and (_starts_phrase(after[1]) or after[1] in nouns.PREPOSITIONS | nouns.ADVERBS)


_NOUNS = (
    nouns.LIVING
    | nouns.BODY
    | nouns.GARMENTS
    | nouns.PLACES
    | nouns.ABSTRACT
    | word_set(
        """
    box book ball cup bottle stick rope hand pet brush paint light cook drink saw hammer drill rake shovel saddle
    chair table bat bow whip comb sand lock ring plant fish water leaf pot pan plate bowl
    """
    )
)


def _guess_forms(low: str) -> tuple[tuple[str, Form], ...]:
    """What an unknown word may be if it is a verb, by its ending."""
    if low.endswith("ing") and len(low) > 5:
        return ((low[:-3], "ing"),)
    if low.endswith("ed") and len(low) > 4:
        return ((low[:-2], "past"), (low[:-2], "participle"))
    if low.endswith("s") and not low.endswith("ss") and len(low) > 3:
        return ((low[:-1], "third"),)
    return ()


def _verb_fits(
    kind: str | None, forms: Sequence[tuple[str, str]], ambiguous: bool, after: str, before: list[Tagged]
) -> bool:
    """Whether a word that can be a verb is one here."""
    shapes = {form for _, form in forms}
    if kind == "pron" and before[-1].low in nouns.OBJECT_PRONOUNS - nouns.SUBJECT_PRONOUNS:
        return "ing" in shapes or (_sees(before) and not ambiguous and "base" in shapes)
    if kind in ("aux", "to", "pron", "rel", "adv", "neg"):
        return kind != "adv" or not ambiguous or bool(shapes - {"base"}) or _after_infinitive(before)
    if kind is None or kind in ("comma", "stop"):
        return "ing" in shapes or (not ambiguous and bool(shapes & {"participle", "past", "third"})) or (
            "third" in shapes and (_starts_phrase(after) or after in nouns.PREPOSITIONS))  # fmt: skip
    if kind in ("prep", "sub"):
        return "ing" in shapes or (kind == "sub" and not ambiguous)
    if kind == "conj":
        ends = not after[0].isalnum() or after in nouns.ADVERBS | nouns.PREPOSITIONS
        goes_on = any(t.form == "third" for t in before) and "third" in shapes and ends
        goes_on = goes_on or (bool(shapes - {"base"}) and _starts_phrase(after))
        return not ambiguous or goes_on or _after_infinitive(before)
    if kind == "noun":
        if shapes == {"base"}:
            plural = before[-1].lemma != before[-1].low or _several(before) or before[-1].low in nouns.SAME_IN_PLURAL
            return (plural or _sees(before)) and (not ambiguous or _starts_phrase(after))
        if "third" in shapes and ambiguous:
            goes_on = _starts_phrase(after) or after in nouns.PREPOSITIONS | nouns.ADVERBS
            return goes_on or (nouns.is_living(before[-1].lemma) and all(t.tag != "verb" for t in before))
        return True
    if kind == "verb" and "third" in shapes:
        return any(t.tag == "rel" for t in before)
    return kind == "verb" and "ing" in shapes


def _sees(before: list[Tagged]) -> bool:
    """Whether a bare infinitive may follow: "helps a lady cross", "watches a dog chase"."""
    verbs = [t for t in before if t.tag == "verb"]
    return bool(verbs) and verbs[-1].lemma in ("help", "let", "make", "watch", "see", "hear", "observe")


def _several(before: list[Tagged]) -> bool:
    """Whether a coordinated subject ends here: "a man and a woman"."""
    k = len(before) - 1
    while k >= 0 and before[k].tag in ("noun", "adj", "det", "num", "poss"):
        k -= 1
    return k > 0 and before[k].low == "and" and before[k - 1].tag == "noun" and all(t.tag != "verb" for t in before)


def _after_infinitive(before: list[Tagged]) -> bool:
    """Whether the verb that a conjunction continues is a base form: "to push it and hold"."""
    verbs = [t for t in before if t.tag == "verb"]
    return bool(verbs) and verbs[-1].form == "base"


def _pick(forms: Sequence[tuple[str, str]], before: list[Tagged]) -> tuple[str, Form]:
    """The reading of a verb form: base after "to" and modals, participle after be and have, else the finite one."""
    verbal = [t for t in before if t.tag not in ("adv", "neg")]
    last = verbal[-1] if verbal else None
    if last and (last.tag == "to" or (last.tag == "aux" and last.lemma in ("modal", "do", "do not"))):
        wanted = ("base", "past", "third", "participle", "ing")
    elif last and last.tag == "aux":
        wanted = ("participle", "ing", "past", "third", "base")
    else:
        wanted = ("third", "past", "ing", "base", "participle")
        if _after_infinitive(before):
            wanted = ("base", "third", "past", "ing", "participle")
    ranked = sorted(forms, key=lambda f: wanted.index(f[1]))
    return ranked[0][0], ranked[0][1]  # type: ignore[return-value]


def _may_be_verb(low: str) -> bool:
    return bool(verb_forms(low)) or low in BE | HAVE | DO | MODALS | nouns.ADVERBS or low.endswith(("ing", "ed"))


def _starts_phrase(low: str) -> bool:
    """Whether a noun phrase may begin with this word."""
    if low in nouns.DETERMINERS | nouns.POSSESSIVES | nouns.NUMBERS | nouns.ADJECTIVES | nouns.OBJECT_PRONOUNS:
        return True
    return low.isalpha() and _continues_phrase(low)


def _continues_phrase(low: str) -> bool:
    """Whether the word can stand inside a noun phrase: no small word, no adverb, no mark."""
    small = (
        nouns.PREPOSITIONS | nouns.CONJUNCTIONS | nouns.SUBORDINATORS | nouns.RELATIVES | nouns.ADVERBS | BE | HAVE | DO
        | MODALS | nouns.SUBJECT_PRONOUNS | nouns.DETERMINERS | nouns.POSSESSIVES
    )  # fmt: skip
    if not low[0].isalnum() or low in small or low in nouns.REFLEXIVES:
        return False
    finite = {form for _, form in verb_forms(low)} & {"third"}
    return not (finite and nouns.singular(low) not in _NOUNS) or low in nouns.ADJECTIVES
