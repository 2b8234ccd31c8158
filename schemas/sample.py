"""The shard entry (`.json` and `.tracks.json`): all that a reader needs, without our code."""

from typing import Any

from pydantic import Field, model_validator

from schemas.base import SCHEMA_VERSION, ClipId, Count, InstanceId, Record, Sha256
from schemas.clip import Geometry, MediaFacts, Window
from schemas.curation import Review, TrackNumbers
from schemas.grounding import Anchor, Verdict
from schemas.interaction import Dropped, Instance, Interaction


class Provenance(Record):
    """Where a sample came from and what made it."""

    uris: tuple[str, ...]
    dataset: str
    license: str | None = None
    source_digest: Sha256
    group: ClipId = Field(description="source_id that names the videos that look alike; all are in one split")
    media_digest: Sha256
    facts: MediaFacts
    window: Window
    geometry: Geometry
    caption_by: str
    prompts: str
    models: tuple[str, ...] = Field(description="identities of language model, detector, verifier, tracker")
    fingerprints: tuple[str, ...] = Field(description="'stage=fingerprint' of every stage behind this sample")


class Sample(Record):
    """`.json` of a shard entry."""

    schema_version: int = SCHEMA_VERSION
    clip_id: ClipId
    caption: str
    width: Count
    height: Count
    frames: Count
    fps: float = Field(gt=0)
    instances: tuple[Instance, ...] = Field(min_length=2)
    interactions: tuple[Interaction, ...] = Field(min_length=1)
    anchors: tuple[Anchor, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    numbers: tuple[TrackNumbers, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    review: tuple[Review, ...] = ()
    provenance: Provenance

    @model_validator(mode="after")
    def _consistent(self) -> "Sample":
        ids = {i.id for i in self.instances}
        for act in self.interactions:
            if not {act.subject, act.object} <= ids:
                raise ValueError(f"{act.text!r} names an ID with no instance")
            for span in (*act.spans.subject, *act.spans.verb, *act.spans.object):
                if span.end > len(self.caption):
                    raise ValueError(f"a span of {act.text!r} ends beyond the caption")
        return self

    def dump(self) -> dict[str, Any]:
        """Plain JSON types. Nulls and empty lists are left out: a reader that guesses column types from a few samples,
        as Hugging Face datasets does, would take them for columns of nothing and fail at the first value."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return {k: v for k, v in data.items() if v != []}


class MaskRle(Record):
    """COCO's own form of a compressed mask."""

    size: tuple[int, int] = Field(description="(height, width)")
    counts: str


class TrackFile(Record):
    """`.tracks.json` of a shard entry. A missing mask is null; overlaps are kept."""

    size: tuple[int, int] = Field(description="(height, width)")
    tracks: dict[InstanceId, tuple[MaskRle | None, ...]]

    def dump(self) -> dict[str, Any]:
        """Plain JSON types, IDs in natural order (id2 before id10)."""
        data: dict[str, Any] = self.model_dump(mode="json")
        data["tracks"] = {k: data["tracks"][k] for k in sorted(data["tracks"], key=lambda k: int(k[2:]))}
        return data
