"""What is known about a rendered video: the yardstick of `matrix_data score` (`tasks/world`)."""

from typing import Literal

from pydantic import Field

from schemas.base import Count, InstanceId, Record, Score5
from schemas.interaction import RoleSpans, Span
from schemas.tracks import Rle

Level = Literal["plain", "hard"]


class TrueInstance(Record):
    """One drawn thing: its ID, class, the words that set it apart, the places where the caption names it, its masks."""

    id: InstanceId
    cls: str
    colour: str
    phrase: str = Field(description="distinguishable noun phrase, as a caption would say it")
    mentions: tuple[Span, ...] = Field(description="character spans of the caption that mean this instance")
    masks: tuple[Rle | None, ...] = Field(description="visible pixels per displayed source frame; None when unseen")


class FrameRange(Record):
    """Half-open range of source frames."""

    start: Count
    end: Count


class TrueTriplet(Record):
    """One interaction that the caption states and the video shows."""

    subject: InstanceId
    verb: str = Field(description="lemma with its particle: 'push', 'bump into'")
    object: InstanceId
    spans: RoleSpans
    contact: Score5
    dynamism: Score5
    start_frame: Count
    end_frame: Count = Field(description="exclusive")
    repeats: tuple[FrameRange, ...] = Field(default=(), description="where later shots of the video show it again")


class VideoTruth(Record):
    """Truth of one rendered file. `expect` is 'accept', a reason code, or 'no_interaction' for captions without any."""

    video: str = Field(description="file name below the bucket's root")
    seed: Count
    level: Level
    width: Count = Field(description="displayed size in pixels, after rotation")
    height: Count
    frames: Count
    fps: float
    caption: str | None
    expect: str = Field(pattern=r"^[a-z_]+$")
    instances: tuple[TrueInstance, ...] = ()
    triplets: tuple[TrueTriplet, ...] = ()
