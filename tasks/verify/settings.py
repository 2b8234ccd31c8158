"""What stage `verify` may be told."""

from typing import Literal

from pydantic import Field

from schemas.settings import Settings


class VerifySettings(Settings):
    """When a candidate counts as verified, and what goes with an ID that has none."""

    drop_policy: Literal["interaction", "clip"] = Field(
        default="interaction",
        description="an ID without a box takes its interactions with it (paper §3.2); 'clip' also gives up the whole "
        "clip when subject and object of one interaction are both without a box (App. A.2)",
    )
    min_confidence: float = Field(default=0.5, ge=0, le=1, description="least confidence of a verdict that counts")
    exclusion_iou: float = Field(
        default=0.7, gt=0, le=1, description="boxes of one frame and class that overlap this much are one box"
    )
    crop_padding: float = Field(
        default=0.08, ge=0, le=1, description="padding of the crop, as a share of the box's sides"
    )
    max_verdicts_per_id: int = Field(default=40, ge=1, description="candidates tried for one ID before it is given up")
    keep_verdicts: int = Field(
        default=256, ge=1, le=4096, description="verdicts kept in a record; those that gave an anchor always stay"
    )
