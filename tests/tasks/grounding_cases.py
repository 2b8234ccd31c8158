"""Captioned cases for the stages propose and verify, made by hand: no video behind them."""

from collections.abc import Callable, Sequence
from typing import Any

from schemas import Captioned, Clip, Instance, Interaction, Rating, RoleSpans, Row, Span
from schemas.clip import Geometry, MediaFacts, SourceVideo, Window
from tasks.engines.base import Detector, Frames, Verifier
from tasks.outcome import Case
from tasks.propose.stage import ProposeSettings, propose
from tasks.verify.stage import VerifySettings, verify

HEIGHT, WIDTH, TOTAL = 48, 72, 15


def make_clip(number: int) -> Clip:
    source = SourceVideo(
        source_id=f"{number:016x}", uris=("a.mp4",), digest="0" * 64, size_bytes=1, caption="c", dataset="test"
    )
    facts = MediaFacts(
        container="mp4", codec="h264", pixel_format="yuv420p", width=WIDTH, height=HEIGHT, rotation=0, fps=8.0,
        duration_s=2.0, frames=TOTAL, has_audio=False,
    )  # fmt: skip
    return Clip(
        clip_id=f"{number:016x}", source=source, facts=facts,
        window=Window(scene=0, index=0, source_frames=tuple(range(TOTAL)), start_s=0.0, end_s=2.0),
        geometry=Geometry(source_width=WIDTH, source_height=HEIGHT, scale=1.0, offset_x=0.0, offset_y=0.0),
        path="clip.mp4", media_digest="0" * 64, width=WIDTH, height=HEIGHT, frames=TOTAL, fps=8.0, phash=("0" * 16,),
    )  # fmt: skip


def make_case(
    classes: dict[str, str], acts: Sequence[tuple[str, str]], number: int = 1, nouns: dict[str, str] | None = None
) -> Case:
    """A case whose IDs have these classes (and noun phrases) and whose interactions join these pairs."""
    span = (Span(start=0, end=1),)
    return Case(
        make_clip(number),
        (Captioned(
            caption="c",
            caption_by="sidecar",
            counted=len(acts),
            instances=tuple(
                Instance(id=id_, cls=cls, noun=(nouns or {}).get(id_, f"{cls} {id_}"), app="", spatial="")
                for id_, cls in classes.items()
            ),
            interactions=tuple(
                Interaction(
                    subject=s, verb="meets", object=o, text=f"<{s}> meets <{o}>", type="multi subject relation",
                    source_sentence="c", spans=RoleSpans(subject=span, verb=span, object=span),
                    rating=Rating(contact=5, dynamism=4, explanation="", confidence=1.0),
                )
                for s, o in acts
            ),
            prompts="v1",
            model="scripted",
        ),),
    )  # fmt: skip


def ground(
    case: Case,
    frames_of: Callable[[Case], Frames],
    detector: Detector,
    verifier: Verifier,
    propose_by: ProposeSettings | None = None,
    verify_by: VerifySettings | None = None,
) -> Row[Any]:
    """The row of verify over what propose made of a case, or that of propose where it lets nothing through."""
    (row,) = propose([case], frames_of, detector, propose_by or ProposeSettings())
    if row.payload is None:
        return row
    (found,) = verify([case.plus(row.payload)], frames_of, verifier, verify_by or VerifySettings())
    return found
