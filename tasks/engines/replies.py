"""What a language model may answer in the four caption turns (paper App. A.1). Closed and strict: "3" is no score.

Every reply echoes the nonce of its question, so that a reply that lands on another clip or turn is noticed.
The field names `Contact`, `Dynamism`, `Explanation`, `src1`, `tgt1` are the paper's.

A form has two bounds. What a reply is validated by leaves room for what can be mended (`tasks/caption/mending.py`).
What a server is held to is as tight as the question: `json_schema_extra` for all questions, `held_to` for one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import new_class
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.base import Score5, Share
from schemas.interaction import InteractionType
from schemas.text import text_problem

MAX_TRIPLETS = 64
ID = "id[1-9][0-9]?"

SaidId = Annotated[str, Field(min_length=3, max_length=16, json_schema_extra={"pattern": f"^{ID}$"})]
"""An ID as a model says it: `bare_id` takes brackets off and tells what is none."""


@dataclass(frozen=True)
class _Prose:
    """Marks a field of free text, which must be the model's own (`tasks/engines/examples.py`)."""


Prose = Annotated[str, _Prose()]


class Part(BaseModel):
    """Base of replies and what they consist of."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        if isinstance(value, str) and (problem := text_problem(value)):
            raise ValueError(f"the text {problem}")
        return value

    def prose(self) -> Iterator[tuple[str, str]]:
        """Name and text of every field of free text, those of the parts included."""
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if any(isinstance(mark, _Prose) for mark in info.metadata):
                yield name, value
            for part in value if isinstance(value, list) else ():
                yield from part.prose()


class TurnReply(Part):
    """Base of the four replies."""

    held: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Words of the JSON schema that a server gets beyond the form's own, by path: {"triplets.src1": {"enum": […]}}."""

    # The pattern is for servers that hold a model to the schema. Another nonce is no fault of form: `asking` tells it.
    # It is no constant: a server would have to compile a grammar anew for every request.
    nonce: str = Field(
        max_length=64, description="copied from the question", json_schema_extra={"pattern": "^[0-9a-f]{16}$"}
    )


R = TypeVar("R", bound=TurnReply)


def held_to(form: type[R], words: Mapping[str, Mapping[str, Any]]) -> type[R]:
    """The form with words for the server that fit one question. Validation, name and fields stay as they are.

    Questions alike get the same class, so that servers see few schemas and compile each once.
    """
    return cast(type[R], _held(form, json.dumps(words, sort_keys=True)))


@lru_cache(maxsize=1024)
def _held(form: type[TurnReply], words: str) -> type[TurnReply]:
    own = {"__module__": form.__module__, "held": json.loads(words)}
    return cast(type[TurnReply], new_class(form.__name__, (form,), exec_body=lambda names: names.update(own)))


def bare_id(said: str) -> str | None:
    """'id3' out of 'id3', '<id3>', ' ID3.'; None for what is no ID."""
    found = re.fullmatch(r"[\W_]*id([1-9][0-9]?)[\W_]*", said, re.IGNORECASE | re.ASCII)
    return f"id{found.group(1)}" if found else None


class CountReply(TurnReply):
    """Turn 1: how many interactions the caption holds; null or 0 for none."""

    count: int | None = Field(ge=0, le=MAX_TRIPLETS)


class Entity(Part):
    """Who or what an ID means."""

    id: SaidId
    phrase: Prose = Field(
        min_length=1, max_length=200, description="its fullest noun phrase, copied from the caption",
        json_schema_extra={"maxLength": 120},
    )  # fmt: skip


class Triplet(Part):
    """One interaction as the model lists it."""

    interaction: str = Field(
        max_length=200, description="<idX> verb <idY>",
        json_schema_extra={"pattern": rf'^<{ID}> [^<>"\\\n\r\t]{{1,60}} <{ID}>$'},
    )  # fmt: skip
    src1: SaidId
    tgt1: SaidId
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
    Explanation: Prose = Field(max_length=2000, json_schema_extra={"maxLength": 240})
    confidence: Share


class Descriptor(Part):
    """`(cls, noun, app, spatial)` of one ID."""

    id: SaidId
    cls: str = Field(
        min_length=1, max_length=80, description="base noun, lower case, singular", json_schema_extra={"maxLength": 40}
    )
    noun: Prose = Field(min_length=1, max_length=200, json_schema_extra={"maxLength": 80})
    app: Prose = Field(max_length=1000, json_schema_extra={"maxLength": 200})
    spatial: Prose = Field(max_length=1000, json_schema_extra={"maxLength": 200})


class DescribeReply(TurnReply):
    """Turn 4: one descriptor per retained ID."""

    instances: list[Descriptor] = Field(max_length=2 * MAX_TRIPLETS)
