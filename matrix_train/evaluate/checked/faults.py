"""Planted faults: what a video would show in which just this one thing went wrong.

Each lowers the score that is about it and leaves the others (`lowers`); a judge that does not see it cannot be trusted
with videos whose faults nobody knows. A fault works on the first triplet of a record, whose recipient it spoils. It is
an edit: for each frame where each instance is taken from. `seen` makes a truth record of it, for judges that read
tracks, and `painting.py` pictures, for those that look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sin, tau
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from matrix_train.evaluate.judge.by_truth import must_touch
from matrix_train.evaluate.protocol.prompt import Mask, chosen_frames
from matrix_train.evaluate.seen.tracks import TOUCH, Tracks
from schemas.base import InstanceId
from schemas.rle import fill, run_lengths
from schemas.tracks import Rle
from schemas.truth import TrueInstance, TrueTriplet, VideoTruth

_SWAY, _SWAY_S = 0.01, 3.0
"""Of the picture's width, and in seconds: how whoever stands by in a rendered video sways."""


APART = 0.06
"""Of the picture's width: so far from each other nobody would call two near enough to touch."""


class NoRoom(ValueError):
    """This fault cannot be planted in this video."""


@dataclass(frozen=True)
class Sprite:
    """An instance as the true video shows it in one frame, moved to the right."""

    of: InstanceId
    frame: int
    aside: int = 0
    """Pixels."""
    recoloured: bool = False
    """It is to look like another of its class."""


Sprites = tuple[Sprite | None, ...]
"""By frame; None where it is not there."""


@dataclass(frozen=True)
class Edit:
    """What is otherwise than in the true video."""

    shown: Mapping[InstanceId, Sprites]
    """Of whoever is seen otherwise. An ID that the true video does not have is one more, of the class of `like`."""
    triplets: tuple[TrueTriplet, ...] | None = None
    like: InstanceId | None = None


@dataclass(frozen=True)
class Fault:
    edit: Callable[[VideoTruth], Edit]
    """NoRoom."""
    lowers: frozenset[str]
    """Of kisa_raw, sgi_raw, spi."""

    def plant(self, truth: VideoTruth) -> VideoTruth:
        """NoRoom."""
        return seen(truth, self.edit(truth))


def seen(truth: VideoTruth, edit: Edit) -> VideoTruth:
    """The record of the video with the edit."""
    there = {i.id: i for i in truth.instances}
    if edit.like is not None:
        there |= {key: _another(there[edit.like], key) for key in edit.shown if key not in there}

    def masks(one: TrueInstance) -> tuple[Rle | None, ...]:
        if one.id not in edit.shown:
            return one.masks
        sprites = edit.shown[one.id]
        return tuple(None if s is None else shifted(truth, there[s.of].masks[s.frame], s.aside) for s in sprites)

    changed = tuple(one.model_copy(update={"masks": masks(one)}) for one in there.values())
    triplets = truth.triplets if edit.triplets is None else edit.triplets
    return truth.model_copy(update={"instances": changed, "triplets": triplets})


def swapped(truth: VideoTruth) -> Edit:
    """Agent and recipient change places: the box pushes the man."""
    act = truth.triplets[0]
    turn = {act.subject: act.object, act.object: act.subject}
    return Edit(
        {key: _as_it_is(truth, other) for key, other in turn.items()},
        tuple(
            t.model_copy(update={"subject": turn.get(t.subject, t.subject), "object": turn.get(t.object, t.object)})
            for t in truth.triplets
        ),
    )


def no_contact(truth: VideoTruth) -> Edit:
    """The agent does it from a distance: it is aside of where it would touch."""
    act = truth.triplets[0]
    if not must_touch(act):
        raise NoRoom("the act needs no contact")
    step, frames = max(4, round(TOUCH * truth.width)), range(truth.frames)
    for aside in range(round(APART * truth.width), truth.width, step):
        for way in (-aside, aside):
            edit = Edit({act.subject: _as_it_is(truth, act.subject, way)})
            there, apart = Tracks(truth), Tracks(seen(truth, edit))
            stays = all(apart.seen(act.subject, f) for f in frames if there.seen(act.subject, f))
            if stays and all(apart.gap(act.subject, act.object, frame) >= APART for frame in frames):
                return edit
    raise NoRoom("the agent would leave the picture")


def no_effect(truth: VideoTruth) -> Edit:
    """They touch, and nothing comes of it: the recipient is all the time where it is touched, the agent stops there."""
    act = truth.triplets[0]
    looked = [frame for frame in chosen_frames(truth.frames) if act.start_frame <= frame < act.end_frame]
    touched = Tracks(truth).touching(act.subject, act.object, looked)
    if not must_touch(act) or act.dynamism < 4 or not touched or not act.start_frame:
        raise NoRoom("the act has no effect on its recipient that contact would begin")
    stop = touched[0]
    frames = range(truth.frames)
    return Edit({
        act.subject: tuple(Sprite(act.subject, min(frame, stop)) for frame in frames),
        act.object: tuple(Sprite(act.object, stop) for _ in frames),
    })  # fmt: skip


def vanishes(truth: VideoTruth) -> Edit:
    """The recipient is not there in the last two frames that are looked at."""
    key = truth.triplets[0].object
    last = chosen_frames(truth.frames)[-2]
    return Edit({key: (*_as_it_is(truth, key)[:last], *(None,) * (truth.frames - last))})


def doubles(truth: VideoTruth) -> Edit:
    """A second of the recipient stands beside it in the last two frames that are looked at."""
    key, more = truth.triplets[0].object, _one_more(truth)
    last = chosen_frames(truth.frames)[-2]
    for aside in (truth.width // 6, -truth.width // 6, truth.width // 3, -truth.width // 3):
        edit = Edit({more: (*(None,) * last, *_as_it_is(truth, key, aside)[last:])}, like=key)
        if Tracks(seen(truth, edit)).sprang_up(more, truth.frames - 1):
            return edit
    raise NoRoom("there is no room beside the recipient")


def drifts(truth: VideoTruth) -> Edit:
    """The recipient becomes another of its class in the last two frames that are looked at: no more the one with the
    box."""
    key, more = truth.triplets[0].object, _one_more(truth)
    last = chosen_frames(truth.frames)[-2]
    other = (Sprite(key, frame, recoloured=True) for frame in range(last, truth.frames))
    return Edit({**vanishes(truth).shown, more: (*(None,) * last, *other)}, like=key)


def static(truth: VideoTruth) -> Edit:
    """A still picture: frame 0 over and over, and nothing happens."""
    return Edit({i.id: (Sprite(i.id, 0),) * truth.frames for i in truth.instances}, ())


def wrong_one(truth: VideoTruth) -> Edit:
    """Another who looks like the agent does it, and the agent stands by, not quite still."""
    act, other = truth.triplets[0], _one_more(truth)
    first = next(i for i in truth.instances if i.id == act.subject).masks[0]
    aside = truth.width // 3 if shifted(truth, first, truth.width // 3) else -truth.width // 3
    sway = (round(_SWAY * truth.width * sin(tau * frame / truth.fps / _SWAY_S)) for frame in range(truth.frames))
    return Edit(
        {act.subject: tuple(Sprite(act.subject, 0, aside + by) for by in sway), other: _as_it_is(truth, act.subject)},
        tuple(_by(t, act.subject, other) for t in truth.triplets),
        like=act.subject,
    )


def _by(act: TrueTriplet, one: InstanceId, other: InstanceId) -> TrueTriplet:
    """The act with `other` for `one`, in whichever part."""
    ends = {"subject": act.subject, "object": act.object}
    return act.model_copy(update={part: other if key == one else key for part, key in ends.items()})


KISA, SGI, SPI = "kisa_raw", "sgi_raw", "spi"

FAULTS: dict[str, Fault] = {
    "swapped": Fault(swapped, frozenset({SGI})),
    "no_contact": Fault(no_contact, frozenset({KISA})),
    "no_effect": Fault(no_effect, frozenset({KISA})),
    "vanishes": Fault(vanishes, frozenset({SPI})),
    "doubles": Fault(doubles, frozenset({SPI})),
    "drifts": Fault(drifts, frozenset({SPI})),
    "static": Fault(static, frozenset({KISA, SGI})),  # where nothing happens, nobody does it
    "wrong_one": Fault(wrong_one, frozenset({SGI})),
}


def _as_it_is(truth: VideoTruth, key: InstanceId, aside: int = 0) -> Sprites:
    return tuple(Sprite(key, frame, aside) for frame in range(truth.frames))


def _one_more(truth: VideoTruth) -> InstanceId:
    return f"id{max(int(i.id[2:]) for i in truth.instances) + 1}"


def _another(like: TrueInstance, key: InstanceId) -> TrueInstance:
    return like.model_copy(update={"id": key, "mentions": ()})


def shifted(truth: VideoTruth, rle: Rle | None, aside: int) -> Rle | None:
    """A mask moved to the right by so many pixels; None where nothing of it is left in the picture."""
    if rle is None or not aside:
        return rle
    return encoded(moved(fill(run_lengths(rle, truth.height, truth.width), truth.height, truth.width), aside))


def moved(picture: NDArray[Any], aside: int) -> NDArray[Any]:
    """[H, W, …] moved to the right by so many pixels, zeros where nothing was."""
    out, right, left = np.zeros_like(picture), max(aside, 0), max(-aside, 0)
    out[:, right : out.shape[1] - left] = picture[:, left : out.shape[1] - right]
    return out


def encoded(mask: Mask) -> Rle | None:
    """The mask [H, W] as run lengths; None where it is empty."""
    if not mask.any():
        return None
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode("ascii")
