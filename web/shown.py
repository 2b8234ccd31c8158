"""A clip as the page gets it: words cut at their spans, masks, curves over time, and one's own decisions."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from schemas import Captioned, Curated, Interaction, Tracked, TrackFile, Verified
from schemas.palette import css
from tasks.caption.stretches import stretches
from tasks.media.clips import decode_mask
from tasks.media.overlay import Label, draw_small, pick_frames
from tasks.review.patches import State, touched
from tasks.review.tracks import acts_after, apply
from tasks.review.words import Reviewable

STRIP_WIDTH = 176
"""Pixels of one of the ten frames."""

THUMB_WIDTH = 144
"""Pixels of the picture beside a result."""


def protocol_frames(shown: Reviewable) -> list[int]:
    """The frames of the paper's protocol: first verified, last valid, and eight evenly spaced between (App. A.2)."""
    first = min(a.frame for a in shown.case.of(Verified).anchors)
    last = max((t for track in shown.masks.values() for t, mask in enumerate(track) if mask), default=first)
    return [first + t for t in pick_frames(max(last - first, 0) + 1, 10)]


@lru_cache(maxsize=1024)
def curves(masks: tuple[str | None, ...], likeness: tuple[float | None, ...], size: tuple[int, int]) -> dict[str, Any]:
    """Per frame: share of the picture, likeness to the anchor's colours, and the leap since the mask before, in sides.

    None where nothing is visible. Likeness is the tracker's, so it is left out where a person has changed the mask.
    """
    areas: list[float | None] = []
    leaps: list[float | None] = []
    before: tuple[float, float, float] | None = None
    for mask in masks:
        if mask is None:
            areas.append(None)
            leaps.append(None)
            continue
        rle = {"size": list(size), "counts": mask.encode("ascii")}
        area, (x, y, w, h) = float(coco.area(rle)), coco.toBbox(rle)
        at = (float(x + w / 2), float(y + h / 2), float(np.sqrt(area)))
        leaps.append(round(float(np.hypot(at[0] - before[0], at[1] - before[1])) / at[2], 4) if before else 0.0)
        areas.append(round(area / (size[0] * size[1]), 5))
        before = at
    return {"area": areas, "likeness": list(likeness), "leap": leaps}


def words(caption: str, acts: Sequence[Interaction]) -> dict[str, Any]:
    """The caption in pieces, and the triplets, as a page marks them."""
    return {
        "caption": [asdict(one) for one in stretches(caption, acts)],
        "acts": [
            {
                "text": act.text, "subject": act.subject, "verb": act.verb, "object": act.object,
                "contact": act.rating.contact, "dynamism": act.rating.dynamism,
                "explanation": act.rating.explanation, "confidence": act.rating.confidence,
            }
            for act in acts
        ],
    }  # fmt: skip


def as_json(shown: Reviewable, state: State) -> dict[str, Any]:
    """All that the page shows of a clip; masks after one's own edits."""
    case = shown.case
    captioned, curated, tracked = case.of(Captioned), case.of(Curated), case.of(Tracked)
    masks = apply(shown.masks, state.edits, shown.size)
    acts = acts_after(shown.acts, state.edits)
    likeness = {t.id: t.likeness for t in tracked.tracks}
    instances = {i.id: i for i in captioned.instances}
    anchors = {a.id: a for a in case.of(Verified).anchors}
    verdicts = {v.asked: v.rationale for v in case.of(Verified).verdicts if v.assigned_id == v.asked}
    numbers = {n.id: n for n in curated.numbers}
    locked = {(e.id, e.frame) for e in state.edits if e.op == "paint" and e.by_hand}
    clip = case.clip
    return {
        "clip": clip.clip_id, "width": clip.width, "height": clip.height, "frames": clip.frames, "fps": clip.fps,
        **words(captioned.caption, acts), "source": clip.source.dataset,
        "license": clip.source.license or "not stated", "uri": clip.source.uris[0],
        "shown": protocol_frames(shown),
        "tracks": [
            {
                "id": name, "noun": instances[name].noun, "cls": instances[name].cls, "app": instances[name].app,
                "colour": css(name), "masks": masks[name],
                "anchor": anchors[name].model_dump(mode="json"), "rationale": verdicts.get(name, ""),
                "numbers": numbers[name].words(), "mended": state.mended(name),
                "locked": sorted(frame for who, frame in locked if who == name),
                "curves": curves(
                    masks[name], () if any(name in touched(e) for e in state.edits) else likeness[name], shown.size
                ),
                "decision": said.decision if (said := state.decisions.get(name)) else None,
                "reason": said.reason if said else "",
            }
            for name in shown.masks
        ],
        "seq": state.seq, "undo": state.can_undo, "redo": state.can_redo,
        "finished": state.finished is not None, "lapsed": list(state.lapsed),
    }  # fmt: skip


def strip_of(frames: NDArray[np.uint8], chosen: Sequence[int]) -> bytes:
    """JPEG of the chosen frames beside each other, small; `frames` RGB uint8 [T, H, W, 3]."""
    height = round(STRIP_WIDTH * frames.shape[1] / frames.shape[2])
    cells = [cv2.resize(frames[t], (STRIP_WIDTH, height), interpolation=cv2.INTER_AREA) for t in chosen]
    return _jpeg(np.hstack(cells))


def thumb_of(frame: NDArray[np.uint8], tracks: TrackFile) -> bytes:
    """JPEG of a sample's first frame, RGB uint8 [H, W, 3], small, with its masks. ValueError where one is none."""
    labels = [
        Label(name, name, decode_mask(masks[0].counts, *frame.shape[:2]))
        for name, masks in tracks.tracks.items()
        if masks and masks[0]
    ]
    return _jpeg(draw_small(frame, labels, THUMB_WIDTH))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
