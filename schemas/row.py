"""The envelope of every result in the store: a clip is accepted, or rejected with a reason. Nothing else is an end."""

from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import Field, model_validator

from schemas.base import ClipId, Record
from schemas.usage import Usage

T = TypeVar("T", bound=Record)


class Status(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    """An attempt that broke in its own way. Not an end: the clip stays pending until it is `poison`."""


class Reason(StrEnum):
    """Every reason code there is, by stage. `docs/reasons.md` says what a user can do about each."""

    # scan
    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    UNKNOWN_ENDING = "unknown_ending"
    # select
    DUPLICATE = "duplicate"
    NO_CAPTION = "no_caption"
    BAD_CAPTION = "bad_caption"
    NO_VIDEO = "no_video"
    CHANGED_CAPTION = "changed_caption"
    SHARED_CAPTION = "shared_caption"
    # ingest
    UNDECODABLE = "undecodable"
    NO_VIDEO_STREAM = "no_video_stream"
    TRUNCATED = "truncated"
    TOO_SHORT = "too_short"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_CRASH = "decoder_crash"
    NO_MOTION = "no_motion"
    # dedupe
    NEAR_DUPLICATE = "near_duplicate"
    CLIP_LOST = "clip_lost"
    # caption
    NO_INTERACTION = "no_interaction"
    FILTERED = "filtered"
    BAD_REPLY = "bad_reply"
    # propose, verify
    UNGROUNDED = "ungrounded"
    # track
    LOST = "lost"
    # curate
    BAD_TRACKS = "bad_tracks"
    # review
    DROPPED_IN_REVIEW = "dropped_in_review"
    # shard
    NEAR_HELD_OUT = "near_held_out"
    # any stage
    POISON = "poison"


class Row(Record, Generic[T]):
    """One clip's end at one stage."""

    key: ClipId = Field(description="clip_id; at scan and select the hash of a file as listed, at ingest a source_id")
    status: Status
    reason: Reason | None = None
    detail: str = Field(default="", max_length=4000)
    seconds: float = Field(default=0.0, ge=0, description="wall time spent on this clip at this stage")
    usage: Usage | None = Field(default=None, description="what models behind a server cost; None where none was asked")
    payload: T | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Row[T]":
        if (self.status is Status.ACCEPTED) != (self.payload is not None):
            raise ValueError("accepted rows carry a payload, others do not")
        if (self.status is Status.REJECTED) != (self.reason is not None):
            raise ValueError("rejected rows carry a reason, others do not")
        return self
