"""The embedded language model: a small grammar of English captions that answers the four caption turns.

It can: plain declarative captions in the present or past; active and passive; progressive, infinitives and participles;
coordination; relative and subordinate clauses; verb particles; "throws X to Y" and "hands Y X"; "uses X to V Y" and
"V Y with X"; he, she, it, they, "the man", "the other dog"; same-class pairs told apart by colour, clothing or place.
It rates by the verb.

It cannot: understand. A verb outside its lexicon is taken for an act with low confidence (so it is dropped by default),
an unknown noun is taken for a thing, metaphor and irony are read literally, questions and other languages give nothing,
and what only the pictures show does not exist for it. It reads the data document of the user message, never the
instructions.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from schemas.interaction import InteractionType
from tasks.engines.base import BadReply, Message, Reply
from tasks.engines.embedded.options import LanguageOptions, Weightless
from tasks.engines.replies import CountReply, DescribeReply, Descriptor, ScoreReply, Triplet, TripletsReply
from tasks.engines.replies import Entity as NamedEntity
from tasks.errors import UserError
from tasks.grammar import nouns
from tasks.grammar.acts import SURE, UNKNOWN
from tasks.grammar.chunks import first_phrase
from tasks.grammar.entities import Entity
from tasks.grammar.reading import Fact, Reading, read
from tasks.grammar.verbs import PREPOSITIONAL, RATINGS, guess_lemmas, third_person


class EmbeddedLanguage(Weightless):
    """A `LanguageModel` without weights; see the module for what it can and cannot do. Stateless, fit for threads."""

    Options = LanguageOptions
    identity = LanguageOptions().declared()

    async def ask(self, messages: Sequence[Message], schema: type[Reply]) -> Reply:
        """The reply to one of the four turns, told apart by `schema`. UserError for any other schema."""
        document = _document(messages)
        answers = {CountReply: _count, TripletsReply: _triplets, ScoreReply: _score, DescribeReply: _describe}
        for known, answer in answers.items():
            if issubclass(schema, known):
                return cast(Reply, answer(document))
        raise UserError(f"engines.language: the embedded language model knows no turn that answers {schema.__name__}")


def _document(messages: Sequence[Message]) -> dict[str, Any]:
    texts = [m.text for m in messages if m.role == "user"]
    try:
        document = json.loads(texts[-1])
        if not isinstance(document["caption"], str) or not isinstance(document["nonce"], str):
            raise TypeError
    except (IndexError, KeyError, TypeError, ValueError):
        raise BadReply("the last user message is no JSON document with a nonce and a caption") from None
    return cast(dict[str, Any], document)


def _count(document: Mapping[str, Any]) -> CountReply:
    facts = read(document["caption"]).facts
    return CountReply(nonce=document["nonce"], count=len(facts) or None)


def _triplets(document: Mapping[str, Any]) -> TripletsReply:
    reading = read(document["caption"])
    ids = {id(entity): f"id{n}" for n, entity in enumerate(reading.entities, 1)}
    triplets = []
    for fact in reading.facts:
        source, target = ids[id(fact.subject)], ids[id(fact.object)]
        kind: InteractionType = (
            "multi subject relation" if fact.object.living else "functional action based interaction"
        )
        triplets.append(Triplet(
            interaction=f"<{source}> {fact.act.verb} <{target}>", src1=source, tgt1=target, type=kind,
            source_sentence=reading.caption[slice(*fact.sentence)],
        ))  # fmt: skip
    entities = [NamedEntity(id=ids[id(e)], phrase=_phrase(reading, e)) for e in reading.entities]
    return TripletsReply(nonce=document["nonce"], entities=entities, triplets=triplets)


def _phrase(reading: Reading, entity: Entity) -> str:
    """The fullest noun phrase that names the entity, as the caption has it; the first of equals."""
    texts = [reading.caption[m.start : m.end] for m in entity.mentions]
    return max(texts, key=lambda t: len(t.split()))[:200]


def _named(document: Mapping[str, Any], reading: Reading) -> dict[str, Entity | None]:
    """ID → entity: by its number where the phrase agrees, else by the phrase; None for what the grammar did not see."""
    found: dict[str, Entity | None] = {}
    for entry in document["entities"]:
        number = int(entry["id"][2:])
        own = reading.entities[number - 1] if number <= len(reading.entities) else None
        if own is None or _phrase(reading, own) != entry["phrase"]:
            wanted = entry["phrase"].lower()
            own = next((e for e in reading.entities if any(
                wanted.endswith(reading.caption[m.start : m.end].lower()) for m in e.mentions)), None)  # fmt: skip
        found[entry["id"]] = own
    return found


def _score(document: Mapping[str, Any]) -> ScoreReply:
    reading = read(document["caption"])
    named = _named(document, reading)
    triplet = document["triplet"]
    verb = triplet["interaction"].split("> ", 1)[1].rsplit(" <", 1)[0]
    subject, target = named.get(triplet["src1"]), named.get(triplet["tgt1"])
    same_ends = [f for f in reading.facts if f.subject is subject and f.object is target]
    fact = next((f for f in same_ends if f.act.verb == verb), None)
    if fact:
        contact, dynamism, confidence, why = fact.act.contact, fact.act.dynamism, fact.act.confidence, fact.act.why
    else:
        contact, dynamism, confidence, why = _rate_unread(verb)
    return ScoreReply(
        nonce=document["nonce"], Contact=contact, Dynamism=dynamism, Explanation=why, confidence=confidence
    )


def _rate_unread(verb: str) -> tuple[int, int, float, str]:
    """A triplet that the grammar itself did not find is rated by its verb's words alone."""
    words = verb.lower().split()
    for i, word in enumerate(words):
        for lemma in sorted(guess_lemmas(word)):
            rating = PREPOSITIONAL.get((lemma, words[i + 1] if i + 1 < len(words) else "")) or RATINGS.get(lemma)
            if rating:
                return *rating, SURE, f"the verb is '{lemma}'"
    return 3, 3, UNKNOWN, "no verb of the lexicon"


def _describe(document: Mapping[str, Any]) -> DescribeReply:
    reading = read(document["caption"])
    named = _named(document, reading)
    taken: set[str] = set()
    instances = []
    for entry in document["entities"]:
        entity = named[entry["id"]]
        cls = entity.head if entity else _class_of(entry["phrase"])
        noun = _distinct(entry["phrase"], taken)
        instances.append(Descriptor(
            id=entry["id"], cls=cls, noun=noun, app=_appearance(cls, entity),
            spatial=_role(cls, entity, reading),
        ))  # fmt: skip
    return DescribeReply(nonce=document["nonce"], instances=instances)


def _class_of(phrase: str) -> str:
    core = first_phrase(phrase)
    return core.head if core and core.head else "thing"


def _distinct(phrase: str, taken: set[str]) -> str:
    """The phrase, or "second dog" where "dog" is taken."""
    noun = phrase
    for word in ("second", "third", "fourth", "fifth", *(f"{n}th" for n in range(6, 100))):
        if noun.lower() not in taken:
            break
        noun = f"{word} {phrase}"[:200]
    taken.add(noun.lower())
    return noun


def _appearance(cls: str, entity: Entity | None) -> str:
    """One sentence with the colours, sizes and clothes that the caption names."""
    if entity is None:
        return f"The caption does not say how the {cls} looks."
    plain = [w for m in entity.mentions for w in m.modifiers if w in nouns.ADJECTIVES and w not in _NO_LOOKS]
    looks = list(dict.fromkeys(plain))
    parts = [f"is {' and '.join(looks)}"] if looks else []
    for garment, words in entity.worn.items():
        colours = " and ".join(sorted(words & nouns.ADJECTIVES))
        article = "" if garment.endswith("s") else "a "
        parts.append(
            f"wears {article}{colours} {garment}".replace("  ", " ") if garment else f"is dressed in {colours}"
        )
    if not parts:
        return f"The caption does not say how the {cls} looks."
    return f"The {cls} {' and '.join(parts)}."[:1000]


_NO_LOOKS = nouns.PLACE_WORDS | nouns.word_set("other same different second third own single several upper lower")


_WHERE = {
    **{word: f"on the {word}" for word in ("left", "right")},
    **dict.fromkeys(("top", "upper"), "at the top"),
    **dict.fromkeys(("bottom", "lower"), "at the bottom"),
    **dict.fromkeys(("center", "centre", "middle", "central"), "in the middle"),
    **dict.fromkeys(("foreground", "front"), "in the foreground"),
    **dict.fromkeys(("background", "back", "rear"), "in the background"),
}


def _role(cls: str, entity: Entity | None, reading: Reading) -> str:
    """One sentence with place and part in the act. Others stand in it by their class only, without their places."""
    if entity is None:
        return f"The {cls} takes part in the act."
    parts = []
    if entity.places & set(_WHERE):
        parts.append("is " + " ".join(dict.fromkeys(_WHERE[w] for w in sorted(entity.places) if w in _WHERE)))
    for fact in reading.facts:
        parts += _part(fact, entity)
    return f"The {cls} {' and '.join(parts[:4])}."[:1000]


def _part(fact: Fact, entity: Entity) -> list[str]:
    head, *rest = fact.act.lemma.split(" ", 1)
    verb = " ".join((third_person(head), *rest))
    if fact.subject is entity:
        return [f"{verb} the {fact.object.head}"]
    return [f"is what the {fact.subject.head} {verb}"] if fact.object is entity else []
