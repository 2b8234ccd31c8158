"""The keys of the review page: one list, which the page shows and its script obeys."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shortcut:
    """`key` as `KeyboardEvent.key` names it, in lower case; `action` is a function in static/review.js."""

    key: str
    action: str
    says: str


SHORTCUTS = (
    Shortcut(" ", "play", "play or pause"),
    Shortcut("arrowleft", "back", "one frame back"),
    Shortcut("arrowright", "forth", "one frame on"),
    Shortcut("home", "first", "first frame"),
    Shortcut("end", "last", "last frame"),
    Shortcut("arrowdown", "nextTrack", "next track"),
    Shortcut("arrowup", "lastTrack", "track before"),
    Shortcut("a", "accept", "accept the track"),
    Shortcut("f", "fix", "mark it Fix"),
    Shortcut("d", "drop", "drop it"),
    Shortcut("q", "acceptAll", "accept all that have no decision"),
    Shortcut("enter", "finish", "done, and the next clip"),
    Shortcut("n", "skip", "the next clip, without a word on this"),
    Shortcut("z", "undo", "undo"),
    Shortcut("y", "redo", "redo"),
    Shortcut("m", "masks", "masks on or off"),
    Shortcut("o", "boxes", "boxes on or off"),
    Shortcut("u", "union", "union of the triplet on or off"),
    Shortcut("t", "names", "names on or off"),
    Shortcut("[", "fainter", "masks fainter"),
    Shortcut("]", "stronger", "masks stronger"),
    Shortcut("+", "zoomIn", "zoom in"),
    Shortcut("-", "zoomOut", "zoom out"),
    Shortcut("b", "brush", "brush"),
    Shortcut("e", "eraser", "eraser"),
    Shortcut("p", "polygon", "polygon"),
    Shortcut("r", "box", "box"),
    Shortcut("g", "propagate", "track on from here"),
    Shortcut("escape", "cancel", "let go of tool or tracker"),
    Shortcut("w", "swap", "swap with another track from here on"),
    Shortcut("x", "cut", "cut the track off from here on"),
    Shortcut("j", "merge", "merge into another track"),
)
