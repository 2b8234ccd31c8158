"""What the stages hand to each other, and rules that pipeline and trainer share. No models, no Prefect, no I/O but that
of hub.py."""

from schemas.base import SCHEMA_VERSION, Record
from schemas.clip import Clip, Deduped, Geometry, Ingested, MediaFacts, SourceFile, SourceVideo, Stretch, Window
from schemas.curation import Curated, Review, TrackNumbers
from schemas.grounding import Anchor, Box, Candidate, Proposed, Verdict, Verified
from schemas.interaction import Captioned, Dropped, Instance, Interaction, Rating, RoleSpans, Span
from schemas.row import Reason, Row, Status
from schemas.sample import MaskRle, Provenance, Sample, TrackFile
from schemas.tracks import Rle, Track, Tracked
from schemas.usage import Repairs, Usage

__all__ = [
    "SCHEMA_VERSION",
    "Anchor",
    "Box",
    "Candidate",
    "Captioned",
    "Clip",
    "Curated",
    "Deduped",
    "Dropped",
    "Geometry",
    "Ingested",
    "Instance",
    "Interaction",
    "MaskRle",
    "MediaFacts",
    "Proposed",
    "Provenance",
    "Rating",
    "Reason",
    "Record",
    "Repairs",
    "Review",
    "Rle",
    "RoleSpans",
    "Row",
    "Sample",
    "SourceFile",
    "SourceVideo",
    "Span",
    "Status",
    "Stretch",
    "Track",
    "TrackFile",
    "TrackNumbers",
    "Tracked",
    "Usage",
    "Verdict",
    "Verified",
    "Window",
]
