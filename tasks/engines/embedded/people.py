"""People put together from parts: a garment, what hangs together with it above and below, and a head on top."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.embedded.colours import Lab, chroma
from tasks.engines.embedded.regions import Foreground, Mask, Part
from tasks.engines.embedded.shapes import Outline, head_of, outline

_RIM = np.ones((5, 5), np.uint8)


@dataclass(frozen=True)
class Figure:
    """One guess at an object in one frame, working pixels."""

    frame: int
    family: int
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1"""
    area: int
    shape: Outline
    composed: bool
    """Made of several parts: a person or a moving blob."""
    worn: float = 0.0
    """0 … 1: how surely this is only a piece of somebody."""


@dataclass(frozen=True)
class Person:
    """A person and the pixels that were taken for theirs."""

    figure: Figure
    body: Mask
    """[h, w] of the whole picture."""


def find_person(lab: Lab, ground: Foreground, skin: Mask, torso: Part, own: list[Part]) -> Person | None:
    """The person whose garment this part may be: what hangs together with it above and below, other things left out."""
    height, width = skin.shape
    w, h = torso.x1 - torso.x0, torso.y1 - torso.y0
    if torso.area < 0.002 * height * width or h < 0.06 * height:
        return None
    near = np.zeros_like(skin)
    # A head is no wider than its shoulders; feet stride.
    _window(near, torso.x0 - 0.1 * w, torso.y0 - 0.7 * h, torso.x1 + 0.1 * w, torso.y0)
    _window(near, torso.x0 - 0.35 * w, torso.y0, torso.x1 + 0.35 * w, torso.y1 + 1.3 * h)
    legs = np.zeros_like(skin)
    _window(legs, torso.x0, torso.y1 - 3, torso.x1, torso.y1 + h)
    body = (near & (ground.strong | (legs & ground.weak))).astype(np.uint8)
    for other in own:
        if other is not torso and _is_other_thing(lab, skin, torso, other):
            _erase(body, other)
    inner = (slice(torso.y0, torso.y1), slice(torso.x0, torso.x1))
    body[inner][torso.mask] = 1
    _, ids, stats, _ = cv2.connectedComponentsWithStats(body, connectivity=8)
    whole = np.isin(ids, [int(np.bincount(ids[inner][torso.mask]).argmax()), *_feet(stats.tolist(), torso)])
    x0, y0, wide, high = cv2.boundingRect(whole.astype(np.uint8))
    at = (slice(y0, y0 + high), slice(x0, x0 + wide))
    head = head_of(whole[at], skin[at] & whole[at])
    # A brown ball is not all head.
    if head == 0 or (whole.sum() < 1.1 * torso.area and high < 1.5 * wide):
        return None
    shape = outline(whole[at], height, head)
    return Person(
        Figure(torso.frame, torso.family, (x0, y0, x0 + wide, y0 + high), int(whole.sum()), shape, True), whole
    )


def _window(mask: Mask, x0: float, y0: float, x1: float, y1: float) -> None:
    mask[max(int(y0), 0) : max(int(y1), 0), max(int(x0), 0) : max(int(x1), 0)] = True


def _feet(stats: list[list[int]], torso: Part) -> list[int]:
    """Pieces under a garment that do not hang together with it: shoes below trousers in the colour of the floor."""
    w, h = torso.x1 - torso.x0, torso.y1 - torso.y0
    feet = []
    for k in range(1, len(stats)):
        x, y, wide, high, area = stats[k]
        below = torso.y1 - 0.1 * h <= y and y + high <= torso.y1 + 1.05 * h
        if below and 8 <= area < 0.5 * torso.area and torso.x0 - 0.1 * w <= x + wide / 2 <= torso.x1 + 0.1 * w:
            feet.append(k)
    return feet


def _is_other_thing(lab: Lab, skin: Mask, torso: Part, other: Part) -> bool:
    """Whether a part near a garment belongs to something else: it stands beside it, or it is large and coloured."""
    within = other.x0 >= torso.x0 and other.x1 <= torso.x1 and other.y0 >= torso.y0 and other.y1 <= torso.y1
    if within or other.area < 0.03 * torso.area:
        return False
    at = (slice(other.y0, other.y1), slice(other.x0, other.x1))
    bare = skin[at][other.mask].mean()
    on_top = (other.y0 + other.y1) / 2 < torso.y0 and other.x1 - other.x0 < torso.x1 - torso.x0
    if bare > (0.15 if on_top else 0.4):
        return False
    under = other.mask[:, max(torso.x0 - other.x0, 0) : max(torso.x1 - other.x0, 0)].sum() / other.area
    middle = (other.y0 + other.y1) / 2
    beside = under < 0.5 or torso.y0 + 0.1 * (torso.y1 - torso.y0) < middle < torso.y1 - 0.1 * (torso.y1 - torso.y0)
    return beside or (other.area > 0.12 * torso.area and float(chroma(lab[at][other.mask]).mean()) > 28)


def _erase(body: NDArray[np.uint8], part: Part) -> None:
    """Take a part out of a picture's mask, with the blended pixels on its rim."""
    hole = np.zeros_like(body)
    hole[part.y0 : part.y1, part.x0 : part.x1] = part.mask
    body[cv2.dilate(hole, _RIM) > 0] = 0
