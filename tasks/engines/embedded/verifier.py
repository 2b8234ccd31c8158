"""The embedded verifier: colour, place and outline of a box against the words of each candidate.

It can: tell apart things and clothes of different basic colours, and left from right; refuse a box that shows only a
piece of something or the wrong outline for the class. It cannot: recognise a class, a face, an action or a material;
use any word but colours, "left", "right", "top", "bottom" and "middle"; part a figure from a cluttered background.
It says null when nobody fits clearly or when two fit alike.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas import Instance
from tasks.engines.base import VerdictReply, VerifyRequest
from tasks.engines.embedded.colours import Lab, colour_words, is_called, is_skin
from tasks.engines.embedded.options import VerifierOptions, Weightless
from tasks.engines.embedded.regions import Mask, shrink, stands_out
from tasks.engines.embedded.shapes import head_of, likeness, outline, shape_of

LEAST_COLOUR = 0.4
"""Share of the figure that must have the colour named."""

LEAST_SHAPE = 0.12
LEAST_LEAD = 0.2
"""By how much the best candidate must lead the next."""

MOST_SPILL = 0.15
"""A box whose colour goes on outside it by more than this share of what is inside shows only a piece."""

_PLACE = re.compile(r"\b(?:is )?(?:on|at|to|in) the (?:far )?(left|right|top|bottom|middle|cent(?:er|re))\b")


@dataclass(frozen=True)
class _View:
    """The figure in the box and its surroundings, working pixels."""

    lab: Lab
    figure: Mask
    """[h, w] of the whole picture: what stands out within the box."""
    around: Mask
    """What stands out in a margin outside the box."""
    box: tuple[int, int, int, int]
    middle: tuple[float, float]
    """Of the box, as shares of the picture's width and height."""
    cluttered: bool
    """The figure is all of the box: nothing in the picture can be told from its background."""


@dataclass(frozen=True)
class _Fit:
    candidate: Instance
    score: float
    why: str


class EmbeddedVerifier(Weightless):
    """A `Verifier` without weights; see the module for what it can and cannot do. Stateless, fit for threads."""

    Options = VerifierOptions
    identity = VerifierOptions().declared()

    async def verify(self, request: VerifyRequest) -> VerdictReply:
        view = _look(request)
        shape = _shape_fit(view, request.noun)
        fits = sorted((_fit(view, c, shape) for c in request.candidates), key=lambda f: (-f.score, f.candidate.id))
        best = fits[0]
        if best.score == 0:
            return VerdictReply(assigned_id=None, confidence=0.8, rationale="; ".join(f.why for f in fits))
        if len(fits) > 1 and best.score - fits[1].score < LEAST_LEAD:
            why = f"{best.candidate.id} and {fits[1].candidate.id} fit alike: {best.why}; {fits[1].why}"
            return VerdictReply(assigned_id=None, confidence=0.6, rationale=why)
        return VerdictReply(assigned_id=best.candidate.id, confidence=0.5 + 0.5 * best.score, rationale=best.why)


def _look(request: VerifyRequest) -> _View:
    views = shrink(request.frame[None])
    lab, scale = views.labs[0], views.scale
    height, width = lab.shape[:2]
    b = request.box
    x0, y0 = max(int(b.x0 * scale), 0), max(int(b.y0 * scale), 0)
    x1, y1 = min(max(round(b.x1 * scale), x0 + 2), width), min(max(round(b.y1 * scale), y0 + 2), height)
    seen = stands_out(lab)
    out = np.ones_like(seen.strong) if seen.cluttered else seen.strong
    inside = np.zeros_like(out)
    inside[y0:y1, x0:x1] = True
    near = np.zeros_like(out)
    mx, my = max((x1 - x0) // 3, 4), max((y1 - y0) // 3, 4)
    near[max(y0 - my, 0) : y1 + my, max(x0 - mx, 0) : x1 + mx] = True
    figure = out & inside
    if not figure.any():
        figure = inside
    middle = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
    return _View(lab, figure, near & ~inside & out, (x0, y0, x1, y1), middle, seen.cluttered)


def _shape_fit(view: _View, noun: str) -> float:
    if view.cluttered:
        return 0.5
    x0, y0, x1, y1 = view.box
    blob = view.figure[y0:y1, x0:x1]
    head = head_of(blob, is_skin(view.lab[y0:y1, x0:x1]) & blob)
    return likeness(shape_of(noun), outline(blob, view.lab.shape[0], head if shape_of(noun) == "person" else 0.0))


def _fit(view: _View, candidate: Instance, shape: float) -> _Fit:
    """How well the box goes with one candidate: 0 when anything speaks against it."""
    id_ = candidate.id
    if shape < LEAST_SHAPE:
        return _Fit(candidate, 0.0, f"{id_}: the outline is no {candidate.cls} ({shape:.2f})")
    wrong = _wrong_place(view.middle, candidate)
    if wrong:
        return _Fit(candidate, 0.0, f"{id_}: not on the {wrong} (x {view.middle[0]:.2f}, y {view.middle[1]:.2f})")
    names = colour_words(f"{candidate.noun} {candidate.app}")
    if not names and (view.cluttered or shape_of(candidate.cls) == "any"):
        return _Fit(candidate, 0.0, f"{id_}: nothing to go by")
    if not names:
        return _Fit(candidate, 0.6 * shape**0.5, f"{id_}: no colour named, outline {shape:.2f}")
    shares = {name: _share(view, candidate, name) for name in names}
    if view.cluttered:
        return _fit_in_clutter(view, candidate, shares)
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    total = min(sum(shares.values()), 1.0)
    if total < LEAST_COLOUR or min(shares.values()) < 0.25 * LEAST_COLOUR:
        return _Fit(candidate, 0.0, f"{id_}: too little of its colour ({told})")
    spill = _spill(view, names)
    if spill > MOST_SPILL:
        return _Fit(candidate, 0.0, f"{id_}: its colour goes on outside the box ({told}, outside {spill:.2f})")
    return _Fit(candidate, total * (0.5 + 0.5 * shape**0.5), f"{id_}: {told}, outline {shape:.2f}")


def _fit_in_clutter(view: _View, candidate: Instance, shares: dict[str, float]) -> _Fit:
    """Where the figure cannot be cut out: all its colours are in the box, and one of them is hardly seen around it."""
    if not view.around.any():
        return _Fit(candidate, 0.0, f"{candidate.id}: the box is the whole picture")
    around = {name: float(is_called(name, view.lab[view.around]).mean()) for name in shares}
    told = ", ".join(f"{name} {share:.2f} (around {around[name]:.2f})" for name, share in shares.items())
    lead = max(share - 2 * around[name] for name, share in shares.items())
    if min(shares.values()) < 0.05 or lead < 0.08:
        return _Fit(candidate, 0.0, f"{candidate.id}: not its colours: {told}")
    return _Fit(candidate, min(0.2 + sum(shares.values()), 1.0), f"{candidate.id}: {told}")


def _share(view: _View, candidate: Instance, name: str) -> float:
    """Share of the figure that the colour name may mean; of people, the part where clothes are."""
    x0, y0, x1, y1 = view.box
    where = view.figure
    if shape_of(candidate.cls) == "person":
        where = np.zeros_like(view.figure)
        top, bottom = y0 + int(0.2 * (y1 - y0)), y0 + int(0.65 * (y1 - y0))
        where[top:bottom, x0:x1] = view.figure[top:bottom, x0:x1]
    pixels: NDArray[np.float32] = view.lab[where]
    return float(is_called(name, pixels).mean()) if len(pixels) else 0.0


def _spill(view: _View, names: tuple[str, ...]) -> float:
    """Pixels of the colours just outside the box over those inside."""

    def count(where: Mask) -> int:
        pixels = view.lab[where]
        return int(np.any([is_called(name, pixels) for name in names], axis=0).sum())

    return count(view.around) / max(count(view.figure), 1)


def _wrong_place(middle: tuple[float, float], candidate: Instance) -> str:
    """The first place word that the box contradicts, or nothing."""
    x, y = middle
    for found in _PLACE.finditer(f"{candidate.noun} {candidate.spatial}".lower()):
        word = found.group(1)
        right = {"left": x < 0.46, "right": x > 0.54, "top": y < 0.46, "bottom": y > 0.54}.get(word, 0.25 < x < 0.75)
        if not right:
            return word
    return ""
