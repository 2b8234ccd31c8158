"""What every record shares: frozen, closed to unknown keys, and the field types that recur."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 3
"""Raised whenever a record changes shape. It is part of every stage's fingerprint and of every shard entry."""


class Record(BaseModel):
    """Base of everything stages hand to each other: immutable, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=1_000_000)


ClipId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""First 16 hex digits of sha256(content digest, window); also the key of the shard entry."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

InstanceId = Annotated[str, Field(pattern=r"^id[1-9][0-9]?$")]
"""A stable name within one clip: id1, id2, … (paper §3.1)."""

Score5 = Annotated[int, Field(ge=1, le=5)]
"""Contactness or dynamism (paper App. A.1, turn 3)."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]

Count = Annotated[int, Field(ge=0, lt=2**53)]
