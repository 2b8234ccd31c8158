"""Contact sheets: what one training sample really holds, as a picture for people (`matrix_train inspect`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.palette import Rgb, colour

Picture = NDArray[np.uint8]
"""RGB [H, W, 3]."""

INK, PAPER, FAINT = (235, 237, 240), (24, 27, 32), (120, 126, 135)
VERB_COLOUR = (190, 198, 210)
CELL, GAP, LINE = 300, 10, 24


@dataclass(frozen=True)
class Stretch:
    """A run of characters of the caption, and the roles whose tokens cover it. `cut`: beyond the prompt's end."""

    text: str
    roles: tuple[str, ...]
    cut: bool


@dataclass(frozen=True)
class Sheet:
    """One sample. T, H, W: frames and pixels of the training clip; h, w: cells of the latent grid."""

    title: str
    stretches: tuple[Stretch, ...]
    """The whole caption."""
    legend: tuple[tuple[str, str], ...]
    """(role, its words) for each role."""
    ids: Mapping[str, str]
    """ID of the roles subject and object."""
    frames: NDArray[np.uint8]
    """[T, H, W, 3]."""
    masks: Mapping[str, NDArray[np.bool_]]
    """[T, H, W] by ID, the chosen roles' first."""
    id_map: Picture
    cells: Mapping[str, NDArray[np.bool_]]
    """Query cells [h, w] of the roles subject and object."""


def draw_sheet(sheet: Sheet, shown: int = 6, columns: int = 4) -> Image.Image:
    """Title, caption with its role tokens, legend, `shown` frames with masks, then ID map and query cells."""
    times = np.unique(np.linspace(0, len(sheet.frames) - 1, shown).round().astype(int)).tolist()
    cells = [(_masked(sheet, t), f"frame {t}") for t in times]
    cells += [(sheet.id_map, "ID map"), (_queries(sheet), "query cells of the first frame")]
    height = round(CELL * sheet.frames.shape[1] / sheet.frames.shape[2])
    width = columns * (CELL + GAP) + GAP
    lines = _wrap(_words(sheet.stretches), width - 2 * GAP)
    top = GAP + LINE * (len(lines) + 2) + GAP
    page = Image.new("RGB", (width, top + -(-len(cells) // columns) * (height + LINE + GAP)), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((GAP, GAP), _shortened(sheet.title, width - 2 * GAP), fill=FAINT, font=_font())
    _draw_caption(pen, lines, sheet, GAP + LINE)
    _draw_legend(pen, sheet, GAP + LINE * (len(lines) + 1), width)
    for k, (picture, label) in enumerate(cells):
        x, y = GAP + k % columns * (CELL + GAP), top + k // columns * (height + LINE + GAP)
        page.paste(Image.fromarray(_sized(picture, height)), (x, y))
        pen.text((x, y + height + 2), label, fill=FAINT, font=_font())
    return page


def role_colour(sheet: Sheet, role: str) -> Rgb:
    """That of the role's ID, so that words and masks go together; the verb has no ID."""
    return colour(sheet.ids[role]) if role in sheet.ids else VERB_COLOUR


def _masked(sheet: Sheet, t: int) -> Picture:
    """The frame: chosen roles tinted and outlined, other instances outlined thinly."""
    picture = sheet.frames[t].copy()
    thick = 1 + picture.shape[1] // 250
    for name in reversed(list(sheet.masks)):
        mask, ink = sheet.masks[name][t], np.array(colour(name), np.uint8)
        chosen = name in sheet.ids.values()
        if chosen:
            picture[mask] = picture[mask] // 2 + ink // 2
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour(name), thick if chosen else max(1, thick // 2), cv2.LINE_AA)
    return cast(Picture, picture)


def _queries(sheet: Sheet) -> Picture:
    """The first frame, dimmed, with the cells from which propagation starts."""
    picture: Picture = sheet.frames[0] // 3
    for role, cells in sheet.cells.items():
        scale = picture.shape[0] // cells.shape[0], picture.shape[1] // cells.shape[1]
        for row, column in np.argwhere(cells).tolist():
            y, x = row * scale[0], column * scale[1]
            picture[y + 1 : y + scale[0] - 1, x + 1 : x + scale[1] - 1] = role_colour(sheet, role)
    return picture


def _sized(picture: Picture, height: int) -> Picture:
    method = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (CELL, height), interpolation=method), dtype=np.uint8)


def _words(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """The caption cut at blanks; a word is one or several stretches. What cannot be printed becomes a blank."""
    words: list[list[Stretch]] = [[]]
    for stretch in stretches:
        for i, part in enumerate("".join(c if c.isprintable() else " " for c in stretch.text).split(" ")):
            if i and words[-1]:
                words.append([])
            if part:
                words[-1].append(Stretch(part, stretch.roles, stretch.cut))
    return [word for word in words if word]


def _wrap(words: Sequence[list[Stretch]], width: int) -> list[list[list[Stretch]]]:
    """Words by line."""
    lines: list[list[list[Stretch]]] = [[]]
    used = 0.0
    for word in words:
        length = _font().getlength("".join(s.text for s in word) + " ")
        if lines[-1] and used + length > width:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
        used += length
    return lines


def _draw_caption(pen: ImageDraw.ImageDraw, lines: Sequence[list[list[Stretch]]], sheet: Sheet, top: int) -> None:
    """Stretches of role tokens stand on their role's colour, in a stripe each where roles share them."""
    for k, line in enumerate(lines):
        x, y = float(GAP), top + k * LINE
        for word, following in zip(line, [*line[1:], None], strict=True):
            for stretch in word:
                x = _draw_stretch(pen, stretch, sheet, x, y)
            joined = following is not None and following[0].roles == word[-1].roles
            x = _draw_stretch(pen, Stretch(" ", word[-1].roles if joined else (), False), sheet, x, y)


def _draw_stretch(pen: ImageDraw.ImageDraw, stretch: Stretch, sheet: Sheet, x: float, y: int) -> float:
    """Where the next one begins."""
    end = x + _font().getlength(stretch.text)
    for i, role in enumerate(stretch.roles):
        part = (LINE - 4) / len(stretch.roles)
        pen.rectangle((x, y + i * part, end, y + (i + 1) * part), fill=role_colour(sheet, role))
    ink = _on(role_colour(sheet, stretch.roles[0])) if stretch.roles else FAINT if stretch.cut else INK
    pen.text((x, y), stretch.text, fill=ink, font=_font())
    return end


def _draw_legend(pen: ImageDraw.ImageDraw, sheet: Sheet, y: int, width: int) -> None:
    x = float(GAP)
    for role, words in sheet.legend:
        text = _shortened(f" {role} {sheet.ids.get(role, '')} ".replace("  ", " "), width)
        length = _font().getlength(text)
        pen.rectangle((x, y, x + length, y + LINE - 4), fill=role_colour(sheet, role))
        pen.text((x, y), text, fill=_on(role_colour(sheet, role)), font=_font())
        said = _shortened(f" {words} ", width // 3)
        pen.text((x + length, y), said, fill=INK, font=_font())
        x += length + _font().getlength(said) + GAP


def _on(background: Rgb) -> Rgb:
    """Black or white, whichever reads better on it."""
    return (0, 0, 0) if sum(background) > 380 else (255, 255, 255)


def _shortened(text: str, width: int) -> str:
    """Text cut to fit `width` pixels."""
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@cache
def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: it knows most scripts that captions come in."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 15)
