"""The automatic checks on tracks, with their numbers on record, and the room for a human's word (paper App. A.2)."""

from typing import Literal

from pydantic import Field

from schemas.base import Count, InstanceId, Record, Share
from schemas.interaction import Dropped


class TrackNumbers(Record):
    """What curate measured on one track. Frames are counted over the whole clip."""

    id: InstanceId
    visible_share: Share = Field(description="frames with a mask / frames")
    longest_gap: Count = Field(description="longest run of empty frames between two visible ones")
    area_jump: float = Field(
        ge=0,
        description="largest |log2(area ratio)| of neighbouring visible frames; masks cut by the image border and "
        "masks below a quarter of the anchor frame's area (half hidden, entering, leaving) are left out",
    )
    fragments: Share = Field(description="largest share of a frame's mask lying outside its biggest part, median frame")
    anchor_iou: Share = Field(description="IoU of the mask's box with the anchor box at the anchor frame")
    side: float = Field(ge=0, description="median over visible frames of sqrt(mask area) / shorter image side")
    same_class_iou: Share = Field(
        description="largest mean IoU with another track of its class, over the frames in which the rarer one shows"
    )
    growth: float = Field(
        default=0.0,
        ge=0,
        description="log2 of the largest median area of five consecutive visible frames over the anchor frame's area",
    )
    area_step: float = Field(
        default=0.0,
        ge=0,
        description="largest change of log2(area) between two neighbouring frames that lasts: the lesser of the change "
        "itself and of the change of the median over eight visible frames before and after; what area_jump leaves out "
        "is left out here",
    )
    leap: float = Field(
        default=0.0,
        ge=0,
        description="widest gap between the boxes of two successive masks, per frame from one to the other, in units "
        "of sqrt(median area); at most the change of velocity there, so that steady flight is none",
    )
    likeness: Share = Field(
        default=1.0, description="lowest median of `Track.likeness` over five consecutive visible frames"
    )
    least_likeness: Share = Field(default=1.0, description="lowest `Track.likeness` of any visible frame")

    def words(self) -> list[str]:
        """For people, wherever they look at a track: 'visible 98 %', …; those that tell most of drift come first."""
        return [
            f"visible {100 * self.visible_share:.0f} %",
            f"least likeness {self.least_likeness:.2f}",
            f"leap {self.leap:.1f}",
            f"area step {self.area_step:.2f}",
            f"anchor IoU {self.anchor_iou:.2f}",
            f"same-class IoU {self.same_class_iou:.2f}",
            f"likeness {self.likeness:.2f}",
            f"area jump {self.area_jump:.2f}",
            f"growth {self.growth:.2f}",
            f"longest gap {self.longest_gap}",
            f"fragments {self.fragments:.2f}",
            f"side {self.side:.3f}",
        ]


class Curated(Record):
    """Stage `curate`: what goes into the shard."""

    ids: tuple[InstanceId, ...] = Field(min_length=2)
    interactions: tuple[str, ...] = Field(min_length=1)
    numbers: tuple[TrackNumbers, ...]
    dropped: tuple[Dropped, ...] = ()


class Review(Record):
    """A person's word on one track, or `by='none'` where nobody has looked."""

    id: InstanceId
    decision: Literal["accept", "fix", "drop"]
    by: str
    note: str = ""
