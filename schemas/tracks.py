"""Mask tracks as COCO compressed run lengths (paper §3: one binary mask per frame, the same ID throughout)."""

from pydantic import Field, model_validator

from schemas.base import Count, InstanceId, Record, Share

Rle = str
"""The `counts` string of a COCO compressed RLE; its size is the track set's `height` × `width`."""


class Track(Record):
    """One ID's masks, one entry a frame. None: nothing of it is visible in that frame."""

    id: InstanceId
    masks: tuple[Rle | None, ...]
    likeness: tuple[Share | None, ...] = Field(
        default=(),
        description="per frame, how far the mask has the mix of colours of the anchor frame's mask (Bhattacharyya "
        "coefficient); 1 at the anchor, None where empty. Filled in by the stage, not by the tracker",
    )


class Tracked(Record):
    """Stage `track`: a track per anchor over the whole clip. Tracks may overlap."""

    height: Count
    width: Count
    tracks: tuple[Track, ...] = Field(min_length=1)
    tracker: str

    @model_validator(mode="after")
    def _one_length(self) -> "Tracked":
        if len({len(t.masks) for t in self.tracks}) != 1:
            raise ValueError("tracks of one clip must have one length")
        if len({t.id for t in self.tracks}) != len(self.tracks):
            raise ValueError("an ID has two tracks")
        return self
