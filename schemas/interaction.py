"""Instances, interactions and what the four caption turns say about them (paper §3.1, App. A.1)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.base import Count, InstanceId, Record, Score5, Share

InteractionType = Literal["multi subject relation", "functional action based interaction"]


class Span(Record):
    """Half-open range of characters in the caption: `caption[start:end]`."""

    start: Count
    end: Count

    @model_validator(mode="after")
    def _not_empty(self) -> "Span":
        if self.end <= self.start:
            raise ValueError("a span must hold at least one character")
        return self


Spans = Annotated[tuple[Span, ...], Field(min_length=1)]
"""In reading order; more than one where a role is split, as in "picks the box up"."""


class RoleSpans(Record):
    """Where the roles stand in the caption: noun with its modifiers; verb with auxiliaries and particles (paper §4)."""

    subject: Spans
    verb: Spans
    object: Spans


class Instance(Record):
    """One entity of the clip: `(k, cls, desc)` with `desc = (noun, app, spatial)` (paper §3)."""

    id: InstanceId
    cls: str = Field(min_length=1, max_length=80, description="base noun, lower case, singular: 'man', 'cup'")
    noun: str = Field(min_length=1, max_length=200, description="short distinguishable noun phrase")
    app: str = Field(max_length=1000, description="one sentence of appearance")
    spatial: str = Field(max_length=1000, description="one sentence of place or role")


class Rating(Record):
    """Turn 3: how firm the contact and how strong the motion is, 1 to 5, with the reason and the rater's confidence."""

    contact: Score5
    dynamism: Score5
    explanation: str = Field(max_length=2000)
    confidence: Share


class Interaction(Record):
    """`⟨subject, verb, object⟩` with the surface form and its places in the caption."""

    subject: InstanceId
    verb: str = Field(min_length=1, max_length=120, description="as the surface form says it: 'is pushing', 'pass'")
    object: InstanceId
    text: str = Field(max_length=200, description="'<id1> pushes <id2>'")
    type: InteractionType
    source_sentence: str = Field(min_length=1, max_length=4000, description="copied from the caption")
    spans: RoleSpans
    rating: Rating

    @model_validator(mode="after")
    def _two_ends(self) -> "Interaction":
        if self.subject == self.object:
            raise ValueError("subject and object must differ")
        return self


class Dropped(Record):
    """Something that a stage left out of an accepted clip, and why. `what` is an ID or an interaction's text."""

    what: str
    reason: str = Field(pattern=r"^[a-z_]+$")
    detail: str = ""


class Captioned(Record):
    """Stage `caption`: the interactions that passed the filter and the instances they name."""

    caption: str
    caption_by: str = Field(description="'sidecar' or the identity of the captioner")
    counted: Count = Field(description="interactions announced by turn 1")
    instances: tuple[Instance, ...] = Field(min_length=2)
    interactions: tuple[Interaction, ...] = Field(min_length=1)
    dropped: tuple[Dropped, ...] = ()
    prompts: str = Field(description="version of the prompt files")
    model: str = Field(description="identity of the language model")

    @model_validator(mode="after")
    def _consistent(self) -> "Captioned":
        ids = [i.id for i in self.instances]
        if len(set(ids)) != len(ids):
            raise ValueError("an instance ID is given twice")
        for act in self.interactions:
            if act.subject not in ids or act.object not in ids:
                raise ValueError(f"{act.text!r} names an ID with no instance")
            for span in (*act.spans.subject, *act.spans.verb, *act.spans.object):
                if span.end > len(self.caption):
                    raise ValueError(f"a span of {act.text!r} ends beyond the caption")
        return self
