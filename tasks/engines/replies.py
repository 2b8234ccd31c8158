"""What a language model may answer in the four caption turns (paper App. A.1). Closed and strict: "3" is no score.

Every reply echoes the nonce of its question, so that a reply that lands on another clip or turn is noticed.
The field names `Contact`, `Dynamism`, `Explanation`, `src1`, `tgt1` are the paper's.
"""

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import InstanceId, Score5, Share
from schemas.interaction import InteractionType

MAX_TRIPLETS = 64


class Part(BaseModel):
    """Base of replies and what they consist of."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class TurnReply(Part):
    """Base of the four replies."""

    # The pattern is for servers that hold a model to the schema. Another nonce is no fault of form: `asking` tells it.
    nonce: str = Field(
        max_length=64, description="copied from the question", json_schema_extra={"pattern": "^[0-9a-f]{16}$"}
    )


class CountReply(TurnReply):
    """Turn 1: how many interactions the caption holds; null or 0 for none."""

    count: int | None = Field(ge=0, le=MAX_TRIPLETS)


class Entity(Part):
    """Who or what an ID means."""

    id: InstanceId
    phrase: str = Field(min_length=1, max_length=200, description="its fullest noun phrase, copied from the caption")


class Triplet(Part):
    """One interaction as the model lists it."""

    interaction: str = Field(max_length=200, description="<idX> verb <idY>")
    src1: InstanceId
    tgt1: InstanceId
    type: InteractionType
    source_sentence: str = Field(min_length=1, max_length=4000)


class TripletsReply(TurnReply):
    """Turn 2: the interactions, and the entities they are about (the paper leaves those to the chat's memory)."""

    entities: list[Entity] = Field(max_length=2 * MAX_TRIPLETS)
    triplets: list[Triplet] = Field(max_length=MAX_TRIPLETS)


class ScoreReply(TurnReply):
    """Turn 3: the rating of one triplet."""

    Contact: Score5
    Dynamism: Score5
    Explanation: str = Field(max_length=2000)
    confidence: Share


class Descriptor(Part):
    """`(cls, noun, app, spatial)` of one ID."""

    id: InstanceId
    cls: str = Field(min_length=1, max_length=80, description="base noun, lower case, singular")
    noun: str = Field(min_length=1, max_length=200)
    app: str = Field(max_length=1000)
    spatial: str = Field(max_length=1000)


class DescribeReply(TurnReply):
    """Turn 4: one descriptor per retained ID."""

    instances: list[Descriptor] = Field(max_length=2 * MAX_TRIPLETS)
