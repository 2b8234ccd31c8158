"""The embedded detector: regions that stand out by colour or motion, scored by a light shape prior for each noun.

It can: find plainly visible things of one colour, animals, and people dressed in one main colour, in front of calm
surroundings or moving in front of cluttered ones; take a head, a garment and legs for one person; prefer frames where
the thing is whole. It cannot: see what a thing is (a red ball and a red apple are the same to it), part two touching
things of one colour, find what has the colour of its background, or find still things in clutter. OpenCV 5 no longer
ships the HOG people detector, so people are found by their parts only.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from schemas import Box
from tasks.engines.base import Frames, Proposal, ranked
from tasks.engines.embedded.colours import Lab, chroma, is_skin
from tasks.engines.embedded.options import DetectorOptions, Weightless
from tasks.engines.embedded.people import Figure, find_person
from tasks.engines.embedded.regions import VIVID, Foreground, Mask, Part, families, foreground, parts, shrink
from tasks.engines.embedded.shapes import head_of, likeness, outline, shape_of

_JOIN = np.ones((9, 9), np.uint8)
_SPAN = np.ones((21, 21), np.uint8)

NEAR = 10
"""Working pixels between a moving blob and the small pieces that are counted in."""

BLOB = -1
"""Family of figures that are no one colour."""

LEAST_SHARE = 0.004
"""Of the picture: a smaller thing scores less."""


class EmbeddedDetector(Weightless):
    """A `Detector` without weights; see the module for what it can and cannot do. Stateless, fit for threads."""

    Options = DetectorOptions
    identity = DetectorOptions().declared()

    def propose(self, frames: Frames, nouns: Sequence[str], limit: int) -> list[Proposal]:
        """At most `limit` boxes per frame and noun, in the order of `ranked`."""
        if not len(frames):
            return []
        views = shrink(frames)
        grounds = foreground(views.labs)
        if not any(ground.strong.any() for ground in grounds):
            return []
        labels = families(views.labs, [ground.strong for ground in grounds])
        near, wide = parts(labels, 3), parts(labels, 11)
        found = [
            figure
            for t, lab in enumerate(views.labs)
            for figure in _figures(t, lab, grounds[t], near[t], [p for p in wide[t] if not _repeats(p, near[t])])
        ]
        height, width = frames.shape[1:3]
        out = []
        for noun in dict.fromkeys(nouns):
            for score, figure in _ranked(found, noun, views.labs[0].shape[:2], len(frames), limit):
                x0, y0, x1, y1 = (v / views.scale for v in figure.box)
                box = Box(x0=x0, y0=y0, x1=min(x1, width), y1=min(y1, height))
                out.append(Proposal(figure.frame, noun, box, score))
        return ranked(out, nouns)


def _repeats(part: Part, others: list[Part]) -> bool:
    box = (part.x0, part.y0, part.x1, part.y1)
    return any(_overlap(box, (o.x0, o.y0, o.x1, o.y1)) > 0.9 for o in others if o.family == part.family)


def _ranked(
    found: list[Figure], noun: str, size: tuple[int, ...], frames: int, limit: int
) -> list[tuple[float, Figure]]:
    """Scores for one noun: outline, times size, times how much of itself the figure shows. At most `limit` a frame."""
    shape = shape_of(noun)
    least = LEAST_SHARE * size[0] * size[1]
    raw = [likeness(shape, f.shape) * (1 - 0.7 * f.worn) * min(f.area / least, 1.0) ** 0.5 for f in found]
    typical = _typical_areas(found, raw)
    scored: list[list[tuple[float, Figure]]] = [[] for _ in range(frames)]
    for score, figure in zip(raw, found, strict=True):
        ratio = 1.0 if figure.family == BLOB else figure.area / typical[figure.family, figure.composed]
        whole = min(ratio, 1 / ratio) * (0.7 if _at_edge(figure.box, size) else 1.0)
        scored[figure.frame].append((score * whole, figure))
    return [pair for pairs in scored for pair in _distinct(pairs)[:limit]]


def _typical_areas(found: list[Figure], scores: list[float]) -> dict[tuple[int, bool], float]:
    """Median over the frames of the area of each family's best figure. A half-hidden thing strays from it."""
    best: dict[tuple[int, bool], dict[int, tuple[float, int]]] = {}
    for score, figure in zip(scores, found, strict=True):
        frames = best.setdefault((figure.family, figure.composed), {})
        frames[figure.frame] = max(frames.get(figure.frame, (-1.0, 0)), (score, figure.area))
    return {key: float(np.median([area for _, area in frames.values()])) for key, frames in best.items()}


def _at_edge(box: tuple[int, int, int, int], size: tuple[int, ...]) -> bool:
    return box[0] <= 1 or box[1] <= 1 or box[2] >= size[1] - 1 or box[3] >= size[0] - 1


def _figures(frame: int, lab: Lab, ground: Foreground, own: list[Part], wide: list[Part]) -> list[Figure]:
    """All guesses in one frame: every part as a person's garment and as a thing, with and without small gaps."""
    skin = is_skin(lab)
    if ground.moving is not None:
        own, wide = _vivid(lab, own), _vivid(lab, wide)
    people = [p for p in (find_person(lab, ground, skin, part, own) for part in own) if p is not None]
    figures = [p.figure for p in people]
    if ground.moving is not None:
        figures += _blobs(ground.moving, skin, frame)
    for part in (*own, *wide):
        # What belongs to somebody with a head is rather a garment, trousers or hair than a thing.
        at = (slice(part.y0, part.y1), slice(part.x0, part.x1))
        worn = max((p.figure.shape.head for p in people if p.body[at][part.mask].mean() > 0.7), default=0.0)
        shape, box = outline(part.mask, lab.shape[0], 0.0), (part.x0, part.y0, part.x1, part.y1)
        figures.append(Figure(part.frame, part.family, box, part.area, shape, False, min(2 * worn, 1.0)))
    return figures


def _vivid(lab: Lab, own: list[Part]) -> list[Part]:
    return [p for p in own if chroma(lab[p.y0 : p.y1, p.x0 : p.x1][p.mask]).mean() > VIVID]


def _blobs(moving: Mask, skin: Mask, frame: int) -> list[Figure]:
    """Everything that moves together as one guess: in clutter there is no telling parts by colour."""
    joined = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_CLOSE, _JOIN)
    _, ids, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    pieces = [(x, y, x + wide, y + high, area) for x, y, wide, high, area in stats.tolist()]
    figures = []
    for k, (x0, y0, x1, y1, area) in enumerate(pieces):
        if k > 0 and area > 0.5 * LEAST_SHARE * moving.size:
            at = (slice(y0, y1), slice(x0, x1))
            # Motion shows ragged pieces of what moves: measure what they span, and add what lies close by.
            blob = np.asarray(cv2.morphologyEx((ids[at] == k).astype(np.uint8), cv2.MORPH_CLOSE, _SPAN), dtype=bool)
            shape = outline(blob, moving.shape[0], head_of(blob, skin[at] & blob))
            near = [p for p in pieces[1:] if p[4] <= 0.25 * area and _gap(p, pieces[k]) <= NEAR and not _is_line(p)]
            left, top, right, bottom, _ = zip(pieces[k], *near, strict=True)
            box = (min(left), min(top), max(right), max(bottom))
            figures.append(Figure(frame, BLOB, box, int(blob.sum()), shape, True))
    return figures


def _is_line(piece: tuple[int, ...]) -> bool:
    """Leashes and shadow edges."""
    wide, high = piece[2] - piece[0], piece[3] - piece[1]
    return max(wide, high) > 3 * min(wide, high)


def _gap(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The wider of the horizontal and the vertical distance between two boxes; 0 where they touch."""
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3], 0)


def _distinct(scored: list[tuple[float, Figure]]) -> list[tuple[float, Figure]]:
    """By falling score, without boxes that nearly repeat a better one."""
    kept: list[tuple[float, Figure]] = []
    for score, figure in sorted(scored, key=lambda s: (-s[0], s[1].box)):
        if score > 0.02 and all(_overlap(figure.box, other.box) < 0.8 for _, other in kept):
            kept.append((score, figure))
    return kept


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
