"""What is harmless in a reply is put right here and counted. What is not raises ValueError: it is asked again.

Harmless is what leaves no doubt of what was meant: an entity that no triplet names, a triplet listed twice, brackets
forgotten or too many, a quote in another case or with other marks, a sentence that is nearly the caption's. Nothing is
made up: a mended quote is the caption's own text.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from schemas.usage import Repairs
from tasks.caption.quotes import find_wording, nearest_sentence
from tasks.engines.replies import ID, DescribeReply, Descriptor, Entity, Part, Triplet, TripletsReply, bare_id

P = TypeVar("P", bound=Part)

SURFACE = re.compile(rf"<({ID})> ([^<>\s](?:[^<>]{{0,118}}[^<>\s])?) <({ID})>")
_LOOSE = re.compile(
    r"[<\[(]?\s*(id[1-9][0-9]?)\s*[>\])]?\s+(.+?)\s+[<\[(]?\s*(id[1-9][0-9]?)\s*[>\])]?\s*[.,;!]*", re.IGNORECASE
)
_LETTER, _INNER = re.compile(r"[^\W\d_]"), re.compile(rf"\b{ID}\b", re.IGNORECASE)
_STOPS = " .,;!"
_ARTICLE = re.compile(r"^(?:a|an|the)\s+(?=\w)", re.IGNORECASE)


def mend_triplets(reply: TripletsReply, caption: str) -> tuple[TripletsReply, Repairs]:
    """The reply with IDs, surface forms and quotes as they should be, each entity and triplet once."""
    done: Counter[str] = Counter()
    triplets = _once([_triplet(t, caption, done) for t in reply.triplets], done)
    by_text: dict[str, Triplet] = {}
    for triplet in triplets:
        first = by_text.setdefault(triplet.interaction.casefold(), triplet)
        if first.type != triplet.type:
            raise ValueError(f"{triplet.interaction!r} stands twice among the triplets, with two types")
    done["doubles"] += len(triplets) - len(by_text)
    named = {end for t in by_text.values() for end in (t.src1, t.tgt1)}
    entities = [_with_id(e, f"the entity {e.phrase!r}", done) for e in reply.entities]
    wanted = [e for e in entities if e.id in named]
    done["unused_entities"] += len(entities) - len(wanted)
    quoted = _once([_entity(e, caption, done) for e in wanted], done)
    return reply.model_copy(update={"entities": quoted, "triplets": list(by_text.values())}), Repairs(**done)


def _triplet(triplet: Triplet, caption: str, done: Counter[str]) -> Triplet:
    """With IDs, surface form and source sentence as they should be."""
    found = _LOOSE.fullmatch(" ".join(triplet.interaction.split()))
    one, verb, other = (found.group(1).lower(), found.group(2), found.group(3).lower()) if found else ("", "", "")
    surface = f"<{one}> {verb} <{other}>"
    if not SURFACE.fullmatch(surface) or not _LETTER.search(verb) or _INNER.search(verb):
        raise ValueError(f"{triplet.interaction!r} is not of the form '<idX> verb <idY>'")
    ends = (bare_id(triplet.src1), bare_id(triplet.tgt1))
    for name, said, end in zip(("src1", "tgt1"), (triplet.src1, triplet.tgt1), ends, strict=True):
        if end is None:
            raise ValueError(f"{name} of {triplet.interaction!r}, {said!r}, is no ID of the form id1")
    if ends != (one, other):
        raise ValueError(f"{triplet.interaction!r} disagrees with src1 {ends[0]} and tgt1 {ends[1]}")
    mended = {"interaction": surface, "src1": one, "tgt1": other}
    done["brackets"] += any(getattr(triplet, name) != value for name, value in mended.items())
    mended["source_sentence"] = _sentence(triplet, caption, done)
    return triplet.model_copy(update=mended)


def _sentence(triplet: Triplet, caption: str, done: Counter[str]) -> str:
    """The caption's own words for the source sentence."""
    said = triplet.source_sentence
    if (span := find_wording(caption, said)) is None:
        if (span := nearest_sentence(caption, said)) is None:
            raise ValueError(f"the source sentence of {triplet.interaction!r} does not stand in the caption")
        done["nearest_sentences"] += 1
        return caption[span.start : span.end]
    done["wordings"] += caption[span.start : span.end] != said
    return caption[span.start : span.end]


def _entity(entity: Entity, caption: str, done: Counter[str]) -> Entity:
    """With the caption's own words for its phrase; "the man" may be told as "a man"."""
    said = entity.phrase.strip().rstrip(_STOPS)
    span = find_wording(caption, said) or find_wording(caption, _ARTICLE.sub("", said))
    if span is None:
        raise ValueError(f"the phrase of {entity.id}, {entity.phrase!r}, does not stand in the caption")
    own = caption[span.start : span.end]
    done["wordings"] += own != entity.phrase
    return entity.model_copy(update={"phrase": own})


def mend_descriptors(reply: DescribeReply) -> tuple[DescribeReply, Repairs]:
    """The reply with bare IDs, classes in lower case and nouns without stops."""
    done: Counter[str] = Counter()
    instances = []
    for entry in reply.instances:
        named = _with_id(entry, f"the entry for {entry.noun!r}", done)
        cls = _ARTICLE.sub("", named.cls.strip()).rstrip(_STOPS).lower()
        plain = named.model_copy(update={"cls": cls, "noun": named.noun.strip().rstrip(_STOPS)})
        done["nouns"] += plain != named
        instances.append(plain)
    return reply.model_copy(update={"instances": instances}), Repairs(**done)


Named = TypeVar("Named", Entity, Descriptor)


def _with_id(part: Named, what: str, done: Counter[str]) -> Named:
    bare = bare_id(part.id)
    if bare is None:
        raise ValueError(f"the ID of {what}, {part.id!r}, is no ID of the form id1")
    done["brackets"] += bare != part.id
    return part.model_copy(update={"id": bare})


def _once(parts: Iterable[P], done: Counter[str]) -> list[P]:
    """Equal parts merged, in the order of the first of each."""
    kept: list[P] = []
    for part in parts:
        if part in kept:
            done["doubles"] += 1
        else:
            kept.append(part)
    return kept
