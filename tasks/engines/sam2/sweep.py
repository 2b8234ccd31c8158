"""All IDs of a clip through its frames, forth and back, with every frame encoded once for all of them.

The rule for anchors on different frames: an ID is tracked forth from its own anchor to the end, then back from its own
anchor to the start, and what it has seen just behind the anchor helps on the way back, as in `propagate_in_video`
called forth and back for that ID alone. IDs never see each other: together they get what each gets alone. (Upstream's
own call starts all objects on one frame; an object prompted later is then guessed from its future.)

Clips longer than the window go in overlapping windows. At the end of one, the newest mask in the frames it shares with
the next becomes the prompt there. Where an ID shows in none of them, its old memory goes on, so that it can still come
back; so it does where the anchor itself lies in them, being a better prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.tracks import Rle
from tasks.engines.base import Frames
from tasks.engines.sam2.album import Album
from tasks.engines.sam2.frames import to_masks
from tasks.engines.sam2.memory import Memory, Model
from tasks.media.clips import decode_mask, encode_mask


@dataclass(frozen=True)
class Windows:
    """How a long clip is cut, and where its features wait."""

    size: int
    overlap: int
    keep_on: torch.device | None = None
    """Device that holds features until they are needed again; None: where they were made."""

    def cuts(self, length: int) -> list[range]:
        """The windows over `length` frames, each sharing `overlap` with the next; the last may be shorter."""
        step = self.size - self.overlap
        starts = range(0, max(length - self.overlap, 1), step)
        return [range(s, min(s + self.size, length)) for s in starts]


@dataclass
class Subject:
    """One ID on its way."""

    at: int
    """Its anchor's frame."""
    box: NDArray[np.float32]
    masks: list[Rle | None]
    way: Memory | None = None
    """The memory that is being added to; None before the prompt."""
    back: Memory | None = None
    """The memory with which the way back begins, kept while the way forth is walked."""


def track(
    model: Model, frames: Frames, anchors: Sequence[tuple[int, NDArray[np.float32]]], windows: Windows
) -> list[list[Rle | None]]:
    """Masks of each anchor's object in every frame, at the clip's size, None where it is not seen.

    frames: RGB uint8 [T, H, W, 3]. anchors: frame and box [4] `xyxy` in clip pixels, within the frame.
    """
    subjects = [Subject(at, box, [None] * len(frames)) for at, box in anchors]
    sweep = _Sweep(model, frames, subjects, windows)
    sweep.forth()
    sweep.back()
    return [s.masks for s in subjects]


class _Sweep:
    def __init__(self, model: Model, frames: Frames, subjects: Sequence[Subject], windows: Windows) -> None:
        self.model, self.subjects = model, subjects
        self.length = len(frames)
        self.shape: tuple[int, int] = (frames.shape[1], frames.shape[2])
        self.first, self.last = min(s.at for s in subjects), max(s.at for s in subjects)
        cuts = windows.cuts(self.length)
        behind = windows.overlap if len(cuts) > 1 else 0
        self.album = Album(model, frames, self.last, behind, windows.size, windows.keep_on)
        shared = [range(b.start, a.stop) for a, b in pairwise(cuts)]
        self.shared_forth = {r[-1]: r[::-1] for r in shared}
        self.shared_back = {r[0]: r for r in shared}
        """Last frame of a window in this direction → the frames shared with the next, newest first."""

    def forth(self) -> None:
        for t in range(self.first, self.length):
            self._prompt(t, [s for s in self.subjects if s.at == t])
            going = [s for s in self.subjects if s.at < t]
            self._follow(t, going, backwards=False)
            for s in going:
                self._save_for_way_back(s, t)
            self._hand_over(self.shared_forth.get(t), backwards=False)

    def back(self) -> None:
        self.album.turn_round()
        for s in self.subjects:
            s.way, s.back = s.back, None
        for t in range(self.last - 1, -1, -1):
            self._follow(t, [s for s in self.subjects if s.at > t], backwards=True)
            self._hand_over(self.shared_back.get(t), backwards=True)

    def _prompt(self, t: int, starting: Sequence[Subject]) -> None:
        if not starting:
            return
        memories, logits = self.model.prompt(self.album.get(t), t, [s.box for s in starting], self.shape, self.length)
        for s, memory in zip(starting, memories, strict=True):
            s.way, s.back = memory, Memory(memory.at, memory.prompt)
        self._write(t, starting, logits)

    def _follow(self, t: int, going: Sequence[Subject], backwards: bool) -> None:
        if going:
            ways = [_way(s) for s in going]
            logits = self.model.follow(self.album.get(t), t, ways, backwards, self.length)
            self._write(t, going, logits)
            for way in ways:
                way.forget(t, self.model.maps, self.model.pointers)
        self.album.leave(t)

    def _save_for_way_back(self, s: Subject, t: int) -> None:
        if s.back is not None and t - s.at <= self.model.pointers:
            s.back.recent[t] = dict(_way(s).recent[t])
            s.back.forget(s.at, self.model.maps, self.model.pointers)

    def _hand_over(self, shared: Sequence[int] | None, backwards: bool) -> None:
        """At the end of a window: every ID that has come through all the shared frames is prompted by its newest mask.

        shared: the frames that lie in the next window too, newest first; None within a window.
        """
        if shared is None:
            return
        by_frame: dict[int, list[Subject]] = {}
        for s in self.subjects:
            passed = s.at > max(shared) if backwards else s.at < min(shared)
            newest = next((f for f in shared if s.masks[f] is not None), None)
            if passed and newest is not None:
                by_frame.setdefault(newest, []).append(s)
        for f, there in by_frame.items():
            masks = [decode_mask(s.masks[f], *self.shape) for s in there]
            memories, _ = self.model.prompt(self.album.get(f), f, masks, self.shape, self.length)
            for s, memory in zip(there, memories, strict=True):
                s.way = memory

    def _write(self, t: int, there: Sequence[Subject], logits: torch.Tensor) -> None:
        for s, mask in zip(there, to_masks(logits, self.shape), strict=True):
            s.masks[t] = encode_mask(mask)


def _way(s: Subject) -> Memory:
    assert s.way is not None
    return s.way
