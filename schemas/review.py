"""What people said of a clip's tracks, as the store and a finished dataset know it (paper App. A.2)."""

from typing import Literal

from pydantic import Field

from schemas.base import ClipId, Count, InstanceId, Record
from schemas.curation import Review, TrackNumbers
from schemas.interaction import Dropped, Interaction
from schemas.tracks import Rle, Track

REVIEW_FILE = "review.parquet"
"""Beside the shards of a finished dataset: one `Label` a track that people have decided on."""

Digest = str
"""16 hex digits over one track's masks (`tasks.review.tracks.digest`): a decision holds for the track with these."""


class Reviewed(Record):
    """Stage `review`: what of a curated clip goes into the shard, with people's word where there is one."""

    ids: tuple[InstanceId, ...] = Field(min_length=2)
    interactions: tuple[Interaction, ...] = Field(min_length=1)
    numbers: tuple[TrackNumbers, ...] = Field(description="of `ids`; measured anew where a track was mended")
    tracks: tuple[Track, ...] = Field(default=(), description="those that people mended, whole")
    review: tuple[Review, ...] = Field(default=(), description="of `ids`; empty where nobody has looked")
    dropped: tuple[Dropped, ...] = ()
    lapsed: tuple[str, ...] = Field(default=(), description="decisions that no longer apply, for their track changed")
    state: str = Field(default="", description="which decisions it was made of; empty where there were none")


class Label(Record):
    """A person's word on a track of a finished dataset, in a row of `review.parquet`. No shard is rewritten for it."""

    key: ClipId
    id: InstanceId
    clip: Literal["keep", "drop"] = Field(description="what became of the whole clip")
    decision: Literal["accept", "fix", "drop"] = Field(description="`fix`: accepted once it was mended")
    reason: str
    detail: str = ""
    by: str
    at: float = Field(ge=0, description="seconds since 1970, UTC")
    applies: bool = Field(description="whether it was made on the very track that the shard holds")
    height: Count
    width: Count
    masks: tuple[Rle | None, ...] = Field(
        default=(), description="the mended track, one entry a frame; empty where the shard's own stands"
    )
    numbers: TrackNumbers | None = Field(default=None, description="of the track as it is now; null for a dropped one")
    interactions: tuple[Interaction, ...] = Field(
        default=(), description="of the clip, all, as people left them; in the row of its first ID that is kept"
    )
