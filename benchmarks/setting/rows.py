"""Made-up store rows for the benchmarks that measure what is around the stages."""

import hashlib
from collections.abc import Sequence
from typing import Any

from flows.context import Context
from flows.legs import SPECS
from schemas import (
    Anchor,
    Box,
    Candidate,
    Captioned,
    Clip,
    Curated,
    Deduped,
    Geometry,
    Ingested,
    Instance,
    Interaction,
    MediaFacts,
    Proposed,
    Rating,
    RoleSpans,
    Row,
    SourceFile,
    SourceVideo,
    Span,
    Status,
    Track,
    Tracked,
    TrackNumbers,
    Verified,
    Window,
)
from schemas.review import Reviewed
from tasks.scan.cutting import LISTED, encode
from tasks.scan.listing import Found

CHAIN = tuple(name for name, spec in SPECS.items() if spec.batch and spec.unit == "clips" and not spec.together)
"""The stages that clips go through batch by batch."""

CAPTION = "A man in a red shirt pushes a blue box."


def key_of(what: str, number: int) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()[:16]


def source_of(number: int) -> SourceVideo:
    digest = hashlib.sha256(f"source {number}".encode()).hexdigest()
    return SourceVideo(
        source_id=digest[:16],
        uris=(f"raw/{number:06d}.mp4",),
        digest=digest,
        size_bytes=1_000_000,
        caption=CAPTION,
        dataset="bench",
    )


def clip_of(number: int) -> Clip:
    return Clip(
        clip_id=key_of("clip", number),
        source=source_of(number),
        facts=_FACTS,
        window=Window(scene=0, index=0, source_frames=tuple(range(49)), start_s=0, end_s=6.125),
        geometry=Geometry(source_width=640, source_height=480, scale=1.125, offset_x=0, offset_y=30),
        path=f"clips/{number}.mp4",
        media_digest="0" * 64,
        width=720,
        height=480,
        frames=49,
        fps=8,
        phash=("0" * 16,),
    )


_FACTS = MediaFacts(
    container="mp4",
    codec="h264",
    pixel_format="yuv420p",
    width=640,
    height=480,
    rotation=0,
    fps=25,
    duration_s=7,
    frames=175,
    has_audio=False,
)
_BOX = Box(x0=10, y0=10, x1=100, y1=100)
_ACT = Interaction(
    subject="id1",
    verb="pushes",
    object="id2",
    text="<id1> pushes <id2>",
    type="functional action based interaction",
    source_sentence=CAPTION,
    rating=Rating(contact=5, dynamism=4, explanation="firm", confidence=0.9),
    spans=RoleSpans(subject=(Span(start=2, end=20),), verb=(Span(start=21, end=27),), object=(Span(start=30, end=38),)),
)


def payload_of(stage: str) -> Any:
    """An accepted record of a chain stage, of about the size a real one has."""
    if stage == "caption":
        people = [("id1", "man", "man in a red shirt"), ("id2", "box", "blue box")]
        instances = tuple(
            Instance(id=i, cls=c, noun=n, app="It is plain.", spatial="On the left.") for i, c, n in people
        )
        return Captioned(
            caption=CAPTION,
            caption_by="sidecar",
            counted=1,
            instances=instances,
            interactions=(_ACT,),
            prompts="v1",
            model="bench",
        )
    if stage == "propose":
        boxes = tuple(
            Candidate(noun=noun, frame=frame, box=_BOX, score=0.9)
            for noun in ("man", "box")
            for frame in range(0, 49, 7)
        )
        return Proposed(frames=tuple(range(0, 49, 7)), candidates=boxes, detector="bench")
    if stage == "verify":
        anchors = tuple(Anchor(id=i, frame=0, box=_BOX, score=0.9, confidence=0.9) for i in ("id1", "id2"))
        return Verified(anchors=anchors, interactions=(_ACT.text,), verifier="bench")
    if stage == "track":
        masks = ("PYf0" * 350,) * 49
        tracks = tuple(Track(id=i, masks=masks) for i in ("id1", "id2"))
        return Tracked(height=480, width=720, tracks=tracks, tracker="bench")
    numbers = tuple(
        TrackNumbers(
            id=i, visible_share=1, longest_gap=0, area_jump=0, fragments=0, anchor_iou=1, side=0.2, same_class_iou=0
        )
        for i in ("id1", "id2")
    )
    if stage == "review":
        return Reviewed(ids=("id1", "id2"), interactions=(_ACT,), numbers=numbers)
    return Curated(ids=("id1", "id2"), interactions=(_ACT.text,), numbers=numbers)


def fill(context: Context, clips: int, stages: Sequence[str] = CHAIN, first: int = 0) -> None:
    """Put `clips` clips on record at scan, select, ingest and dedupe, and at the given stages, chunk by chunk.

    first: number of the first one; a multiple of the chunks' size.
    """
    size = context.settings.run.chunk
    for start in range(first, first + clips, size):
        chunk = f"{start // size:05d}"
        fill_chunk(context, chunk, range(start, min(start + size, first + clips)), stages)
    survey = context.survey()
    for stage in ("scan", "select", "ingest", "dedupe", *stages):
        for chunk in survey.chunks(stage):
            survey.settle(stage, chunk)
    for stage in ("select", "dedupe"):
        survey.settle(stage)


def fill_chunk(context: Context, chunk: str, numbers: range, stages: Sequence[str]) -> None:
    """Clips of these numbers as one chunk at every stage."""
    sources = {n: source_of(n) for n in numbers}
    found = {n: Found(s.uris[0], s.uris[0], 1_000_000, "1") for n, s in sources.items()}
    context.folder.write(f"{context.place('scan', chunk)}/{LISTED}", encode(found.values()))
    rows: dict[str, list[Row[Any]]] = {
        "scan": [
            _row(found[n].key, SourceFile(uri=s.uris[0], name=s.uris[0], size_bytes=9, version="1", digest=s.digest))
            for n, s in sources.items()
        ],
        "select": [_row(found[n].key, s) for n, s in sources.items()],
        "ingest": [_row(s.source_id, Ingested(facts=_FACTS, clips=(clip_of(n),))) for n, s in sources.items()],
        "dedupe": [_row(key_of("clip", n), deduped(n)) for n in numbers],
    }
    rows |= {stage: [_row(key_of("clip", n), payload_of(stage)) for n in numbers] for stage in stages}
    for stage, some in rows.items():
        put(context, stage, some, chunk)


def put(context: Context, stage: str, rows: Sequence[Row[Any]], chunk: str = "00000") -> None:
    """Write rows of a chunk, under its lease."""
    with context.lease(stage, chunk):
        context.open(stage, chunk).write(rows)


def deduped(number: int) -> Deduped:
    clip = clip_of(number)
    return Deduped(clip=clip, group=clip.source.source_id, nearest=None, distance=None)


def _row(key: str, payload: Any) -> Row[Any]:
    return Row(key=key, status=Status.ACCEPTED, seconds=0.001, payload=payload)
