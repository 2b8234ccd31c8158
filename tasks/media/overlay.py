"""Masks, boxes and triplets drawn over frames, for people: `matrix_data show` and the report's gallery."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas import Box, Captioned, Curated, Interaction, Tracked, Verified
from schemas.base import InstanceId
from schemas.palette import colour, number
from schemas.review import Reviewed
from tasks.engines.base import Frames
from tasks.media.clips import decode_mask
from tasks.outcome import Case

Picture = NDArray[np.uint8]
"""RGB uint8 [H, W, 3]."""

_TINT = 0.4
_INK, _PAPER, _FAINT = (235, 237, 240), (24, 27, 32), (150, 156, 165)


@dataclass(frozen=True)
class Label:
    """What is drawn for one ID: its mask [H, W], its box in pixels, and the words on its tag."""

    id: InstanceId
    text: str
    mask: NDArray[np.bool_] | None = None
    box: Box | None = None


def draw(frame: Picture, labels: Sequence[Label]) -> Picture:
    """The frame with every label in its ID's colour. The frame itself stays as it is."""
    picture = frame.copy()
    for label in labels:
        if label.mask is not None and label.mask.any():
            _tint(picture, label.mask, colour(label.id))
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    taken: list[tuple[int, int, int, int]] = []
    for label in labels:
        box = label.box or (_around(label.mask) if label.mask is not None else None)
        if box:
            pen.rectangle(
                (box.x0, box.y0, box.x1 - 1, box.y1 - 1), outline=colour(label.id), width=1 + frame.shape[1] // 400
            )
            _tag(pen, label, box, frame.shape[1], frame.shape[0], taken)
    return np.asarray(image)


def draw_small(frame: Picture, labels: Sequence[Label], width: int) -> Picture:
    """`draw` at another width, so that tags and lines stay legible. The height follows, rounded to an even number."""
    height = round(width * frame.shape[0] / frame.shape[1] / 2) * 2
    scale = width / frame.shape[1], height / frame.shape[0]
    small = []
    for label in labels:
        mask, box = label.mask, label.box
        if mask is not None:
            mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
        if box is not None:
            box = Box(x0=box.x0 * scale[0], y0=box.y0 * scale[1], x1=box.x1 * scale[0], y1=box.y1 * scale[1])
        small.append(replace(label, mask=mask, box=box))
    return draw(np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8), small)


def strip(lines: Sequence[str], width: int) -> Picture:
    """Words on a dark band [h, width, 3] with an even height, to go below a frame. What does not fit is cut."""
    font = _font(max(10, width // 30))
    step = font.size + 5
    band = Image.new("RGB", (width, round((step * len(lines) + 6) / 2) * 2), _PAPER)
    pen = ImageDraw.Draw(band)
    for k, line in enumerate(lines):
        pen.text((6, 3 + step * k), _wrap(line, font, width - 12)[0], fill=_INK, font=font)
    return np.asarray(band)


def _tint(picture: Picture, mask: NDArray[np.bool_], rgb: tuple[int, int, int]) -> None:
    shape = mask.view(np.uint8)
    x, y, w, h = cv2.boundingRect(shape)
    part = picture[y : y + h, x : x + w]
    flat = np.empty_like(part)
    flat[:] = rgb
    cv2.copyTo(cv2.addWeighted(part, 1 - _TINT, flat, _TINT, 0), shape[y : y + h, x : x + w], part)
    outlines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, rgb, 1 + picture.shape[1] // 500, cv2.LINE_AA)


def _around(mask: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return Box(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1]) + 1, y1=float(rows[-1]) + 1)


def _tag(
    pen: ImageDraw.ImageDraw, label: Label, box: Box, width: int, height: int, taken: list[tuple[int, int, int, int]]
) -> None:
    """The words above the box, or lower down where another tag is in the way."""
    font = _font(max(10, width // 40))
    left, top, right, bottom = (int(v) for v in pen.textbbox((0, 0), label.text, font=font))
    wide, high = right - left + 6, bottom - top + 4
    x = int(min(max(box.x0, 0), max(width - wide, 0)))
    y = int(max(box.y0 - high, 0))
    while (
        any(x < x1 and x0 < x + wide and y < y1 and y0 < y + high for x0, y0, x1, y1 in taken)
        and y + 2 * high <= height
    ):
        y += high
    taken.append((x, y, x + wide, y + high))
    pen.rectangle((x, y, x + wide, y + high), fill=colour(label.id))
    dark = sum(colour(label.id)) > 380
    pen.text((x + 3 - left, y + 2 - top), label.text, fill=(0, 0, 0) if dark else (255, 255, 255), font=font)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: it knows most scripts that captions come in."""
    # Found without an import of matplotlib, which makes folders in the user's home.
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None
    return ImageFont.truetype(str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def surface(act: Interaction, nouns: Mapping[InstanceId, str]) -> str:
    """An interaction in words, with its IDs: 'id1 red man · pushes · id2 box'."""
    ends = [f"{k} {nouns.get(k, '')}".strip() for k in (act.subject, act.object)]
    return f"{ends[0]} · {act.verb} · {ends[1]}"


def contact_sheet(case: Case, frames: Frames, columns: int = 4, rows: int = 2, width: int = 360) -> bytes:
    """PNG of evenly spaced frames with all that is known of a clip drawn in, below its caption and triplets.

    `frames` are those of the clip, RGB uint8 [T, H, W, 3]. Curated tracks are drawn where the clip got so far, else all
    tracks, else the anchors at their frames; anchor frames are always among those shown.
    """
    verified = case.get(Verified)
    anchors = [a.frame for a in verified.anchors] if verified else []
    picked = pick_frames(len(frames), columns * rows, anchors)
    cells = []
    for t in picked:
        cell = Image.fromarray(draw_small(frames[t], labels_at(case, t), width))
        height = cell.height
        ImageDraw.Draw(cell).text(
            (6, height - 20), f"frame {t}", fill=_INK, font=_font(13), stroke_width=2, stroke_fill=_PAPER
        )
        cells.append(cell)
    gap = 8
    wide = columns * (width + gap) + gap
    header = _header(case, wide, gap)
    sheet = Image.new("RGB", (wide, header.height + -(-len(cells) // columns) * (height + gap) + gap), _PAPER)
    sheet.paste(header, (0, 0))
    for k, cell in enumerate(cells):
        sheet.paste(cell, (gap + k % columns * (width + gap), header.height + k // columns * (height + gap)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def pick_frames(total: int, count: int, always: Sequence[int] = ()) -> list[int]:
    """At most `count` frames: those of `always` first, the rest evenly spaced with both ends; in order."""
    chosen = sorted({t for t in always if 0 <= t < total})[:count]
    for t in np.linspace(0, total - 1, count - len(chosen)).round().astype(int).tolist():
        if len(chosen) < count and t not in chosen:
            chosen.append(t)
    return sorted(chosen)


def labels_at(case: Case, frame: int) -> list[Label]:
    """What is known of a frame of the clip."""
    captioned, verified = case.get(Captioned), case.get(Verified)
    tracked, reviewed = case.get(Tracked), case.get(Reviewed)
    kept = reviewed or case.get(Curated)
    nouns = {i.id: i.cls for i in captioned.instances} if captioned else {}
    anchors = {a.id: a for a in verified.anchors if a.frame == frame} if verified else {}
    if not tracked:
        return [Label(k, f"{k} {nouns.get(k, '')} anchor", box=a.box) for k, a in anchors.items()]
    tracks = {t.id: t for t in (*tracked.tracks, *(reviewed.tracks if reviewed else ()))}
    keep = set(kept.ids) if kept else tracks.keys()
    size = tracked.height, tracked.width
    return [
        Label(
            t.id,
            f"{t.id} {nouns.get(t.id, '')}{' anchor' if t.id in anchors else ''}",
            decode_mask(t.masks[frame], *size),
        )
        for t in sorted(tracks.values(), key=lambda t: number(t.id))
        if t.id in keep
    ]


def _header(case: Case, width: int, gap: int) -> Image.Image:
    """Caption, then a line for every triplet; those that were dropped later are faint."""
    lines: list[tuple[str, tuple[int, int, int]]] = [(f"clip {case.clip.clip_id}", _FAINT)]
    captioned = case.get(Captioned)
    caption = captioned.caption if captioned else case.clip.source.caption
    font = _font(15)
    lines += [(line, _INK) for line in _wrap(caption or "no caption", font, width - 2 * gap)[:8]]
    if captioned:
        nouns = {i.id: i.noun for i in captioned.instances}
        last = case.get(Curated) or case.get(Verified)
        for act in captioned.interactions:
            kept = last is None or act.text in last.interactions
            rating = f"contact {act.rating.contact}, dynamism {act.rating.dynamism}"
            text = f"{surface(act, nouns)} ({rating}{'' if kept else ', dropped later'})"
            lines += [(line, _INK if kept else _FAINT) for line in _wrap(text, font, width - 2 * gap)]
    image = Image.new("RGB", (width, 22 * len(lines) + 2 * gap), _PAPER)
    pen = ImageDraw.Draw(image)
    for k, (text, ink) in enumerate(lines):
        pen.text((gap, gap + 22 * k), text, fill=ink, font=font)
    return image


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines that fit, broken at spaces, or within a word that alone is too long."""
    lines = [""]
    for word in " ".join("".join(c if c.isprintable() else " " for c in text).split()).split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
