"""A prompt of the authors' kind, "a <id1> person passes a ball to another <id2> person", read into a sample.

The embedded grammar (tasks/grammar) finds the acts; those whose two ends carry an ID become interactions, rated by
their verb as the embedded language model rates them. It says so in the sample. A prompt that states no such act is
left out: nothing is made up.
"""

import hashlib
import re

from schemas import (
    Geometry,
    Instance,
    Interaction,
    MediaFacts,
    Provenance,
    Rating,
    RoleSpans,
    Sample,
    Span,
    TrackFile,
    Window,
)
from schemas.base import InstanceId
from schemas.palette import number
from tasks.exports.making import LeftOut
from tasks.grammar.entities import Entity
from tasks.grammar.reading import Fact, read
from tasks.ingest.stage import name_clip

READER = "embedded-grammar/prompt"
_TAG = re.compile(r"<(id[1-9][0-9]?)>\s*")


def untagged(prompt: str) -> tuple[str, dict[int, InstanceId]]:
    """The caption without IDs, and where in it each stood."""
    text, at, places = "", 0, dict[int, InstanceId]()
    for tag in _TAG.finditer(prompt):
        text += prompt[at : tag.start()]
        places[len(text)] = tag[1]
        at = tag.end()
    return (text + prompt[at:]).strip(), places


def sample_of(
    prompt: str, mp4: bytes, facts: MediaFacts, tracks: TrackFile, uri: str, fingerprints: dict[str, str]
) -> Sample:
    """The sample of a clip that comes with a prompt and masks alone. LeftOut where the prompt states no act."""
    if prompt != prompt.lstrip():
        raise LeftOut("bad_prompt", "the prompt begins with space")
    caption, places = untagged(prompt)
    reading = read(caption)
    named = {id(e): name for e in reading.entities if (name := _name(e, places)) and name in tracks.tracks}
    facts_told = [f for f in reading.facts if id(f.subject) in named and id(f.object) in named]
    acts = tuple(_interaction(caption, f, named[id(f.subject)], named[id(f.object)]) for f in facts_told)
    acts = tuple(a for a in acts if a.subject != a.object)
    if not acts:
        raise LeftOut("no_interaction", "the prompt states no act between two of its IDs")
    of = {named[id(e)]: e for e in reading.entities if id(e) in named}
    missing = sorted(set(tracks.tracks) - set(of), key=number)
    if missing:
        raise LeftOut("other_ids", f"the acts of the prompt do not name {', '.join(missing)}, which has masks")
    digest = hashlib.sha256(mp4).hexdigest()
    window = Window(
        scene=0, index=0, source_frames=tuple(range(facts.frames)), start_s=0, end_s=facts.frames / facts.fps
    )
    return Sample(
        clip_id=name_clip(digest, window), caption=caption, width=facts.width, height=facts.height,
        frames=facts.frames, fps=facts.fps, interactions=acts,
        instances=tuple(_instance(caption, of[name], name) for name in sorted(of, key=number)),
        provenance=Provenance(
            uris=(uri,), dataset="import", source_digest=digest, group=digest[:16], media_digest=digest, facts=facts,
            window=window, caption_by="import", prompts="none", models=(READER,),
            geometry=Geometry(source_width=facts.width, source_height=facts.height, scale=1, offset_x=0, offset_y=0),
            fingerprints=tuple(f"{stage}={value}" for stage, value in fingerprints.items()),
        ),
    )  # fmt: skip


def _name(entity: Entity, places: dict[int, InstanceId]) -> InstanceId | None:
    """The ID that stands in front of or within one of its mentions."""
    return next((name for m in entity.mentions for at, name in places.items() if m.start <= at < m.end), None)


def _instance(caption: str, entity: Entity, name: InstanceId) -> Instance:
    first = entity.mentions[0]
    noun = caption[first.start : first.end]
    return Instance(id=name, cls=entity.head or noun, noun=noun, app="", spatial="")


def _interaction(caption: str, fact: Fact, subject: InstanceId, target: InstanceId) -> Interaction:
    act = fact.act
    rating = Rating(contact=act.contact, dynamism=act.dynamism, explanation=act.why, confidence=act.confidence)
    return Interaction(
        subject=subject, verb=act.verb, object=target, text=f"<{subject}> {act.verb} <{target}>",
        type="multi subject relation" if fact.object.living else "functional action based interaction",
        source_sentence=caption[fact.sentence[0] : fact.sentence[1]].strip(), rating=rating,
        spans=RoleSpans(
            subject=(_span(fact.subject, act.subject.start, act.subject.end),),
            verb=_words([(t.start, t.end) for t in act.tokens]),
            object=(_span(fact.object, act.object.start, act.object.end),),
        ),
    )  # fmt: skip


def _span(entity: Entity, start: int, end: int) -> Span:
    """The phrase of the act, or of the latest mention by a noun where that is a pronoun."""
    nouns = [m for m in entity.mentions if m.start <= start]
    return Span(start=nouns[-1].start, end=nouns[-1].end) if nouns else Span(start=start, end=end)


def _words(places: list[tuple[int, int]]) -> tuple[Span, ...]:
    """Neighbouring words are one span."""
    spans: list[Span] = []
    for start, end in places:
        if spans and start - spans[-1].end <= 1:
            spans[-1] = Span(start=spans[-1].start, end=end)
        else:
            spans.append(Span(start=start, end=end))
    return tuple(spans)
