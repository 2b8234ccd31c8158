"""Tracks and triplets as people's edits leave them. Pure; nothing is changed in place."""

import hashlib
from collections.abc import Mapping, Sequence

from schemas import Interaction, Rle, Track
from tasks.media.clips import decode_mask, encode_mask
from tasks.review.patches import Act, Edit, Give, Paint, Swap

Masks = Mapping[str, tuple[Rle | None, ...]]
"""By ID, one entry a frame."""


def digest(masks: Sequence[Rle | None]) -> str:
    """16 hex digits over one track's masks."""
    return hashlib.sha256("\n".join("-" if m is None else m for m in masks).encode()).hexdigest()[:16]


def masks_of(tracks: Sequence[Track], ids: Sequence[str]) -> dict[str, tuple[Rle | None, ...]]:
    """The masks of these IDs."""
    return {track.id: track.masks for track in tracks if track.id in ids}


def apply(masks: Masks, edits: Sequence[Edit], size: tuple[int, int]) -> dict[str, tuple[Rle | None, ...]]:
    """The masks after the edits, in their order; size: (height, width). ValueError for an edit that does not fit."""
    found = {name: list(track) for name, track in masks.items()}
    frames = len(next(iter(found.values())))
    for edit in edits:
        for name in (getattr(edit, key, None) for key in ("id", "other", "to")):
            if name is not None and name not in found:
                raise ValueError(f"there is no {name} in this clip")
        if isinstance(edit, Paint):
            if edit.frame + len(edit.masks) > frames:
                raise ValueError(f"the clip has {frames} frames")
            # What is kept is what our own encoder writes: an empty mask is None, and a forged string ends here.
            fresh = [encode_mask(decode_mask(mask, *size)) for mask in edit.masks]
            found[edit.id][edit.frame : edit.frame + len(fresh)] = fresh
        elif isinstance(edit, Swap):
            a, b, at = found[edit.id], found[edit.other], edit.frame
            a[at:], b[at:] = b[at:], a[at:]
        elif isinstance(edit, Give):
            if edit.to == edit.id:
                raise ValueError("a track cannot be given to itself")
            for t in range(edit.frame, frames):
                mask, found[edit.id][t] = found[edit.id][t], None
                if edit.to is not None:
                    found[edit.to][t] = _union(found[edit.to][t], mask, size)
    return {name: tuple(track) for name, track in found.items()}


def acts_after(acts: Sequence[Interaction], edits: Sequence[Edit]) -> list[Interaction]:
    """Triplets after people's edits."""
    found = list(acts)
    for edit in edits:
        if isinstance(edit, Act):
            found = [
                other for act in found for other in (act if act.text != edit.text else edit.act,) if other is not None
            ]
    return found


def _union(one: Rle | None, other: Rle | None, size: tuple[int, int]) -> Rle | None:
    if one is None or other is None:
        return one or other
    return encode_mask(decode_mask(one, *size) | decode_mask(other, *size))
