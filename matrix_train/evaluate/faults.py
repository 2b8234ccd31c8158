"""Planted faults: what a video would show in which just this one thing went wrong, as a truth record.

Each lowers the score that is about it and leaves the others (`lowers`); a judge that does not see it cannot be trusted
with videos whose faults nobody knows. A fault works on the first triplet of a record, whose recipient it spoils.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sin, tau

import numpy as np
from pycocotools import mask as coco

from matrix_train.evaluate.judge_truth import must_touch
from matrix_train.evaluate.protocol import Mask, chosen_frames
from matrix_train.evaluate.tracks import TOUCH, Tracks
from schemas.base import InstanceId
from schemas.rle import fill, run_lengths
from schemas.tracks import Rle
from schemas.truth import TrueInstance, TrueTriplet, VideoTruth

Masks = tuple[Rle | None, ...]

_SWAY, _SWAY_S = 0.01, 3.0
"""Of the picture's width, and in seconds: how whoever stands by in a rendered video sways."""


class NoRoom(ValueError):
    """This fault cannot be planted in this video."""


@dataclass(frozen=True)
class Fault:
    plant: Callable[[VideoTruth], VideoTruth]
    """NoRoom."""
    lowers: frozenset[str]
    """Of kisa_raw, sgi_raw, spi."""


def swapped(truth: VideoTruth) -> VideoTruth:
    """Agent and recipient change places: the box pushes the man."""
    act = truth.triplets[0]
    with_masks = _with(truth, {act.subject: _masks(truth, act.object), act.object: _masks(truth, act.subject)})
    turn = {act.subject: act.object, act.object: act.subject}
    return with_masks.model_copy(
        update={
            "triplets": tuple(
                t.model_copy(update={"subject": turn.get(t.subject, t.subject), "object": turn.get(t.object, t.object)})
                for t in truth.triplets
            )
        }
    )


def no_contact(truth: VideoTruth) -> VideoTruth:
    """The agent does it from a distance: its track lies aside of where it would touch."""
    act = truth.triplets[0]
    if not must_touch(act):
        raise NoRoom("the act needs no contact")
    own = _masks(truth, act.subject)
    step = max(4, round(TOUCH * truth.width))
    for aside in range(2 * step, truth.width, step):
        for way in (-aside, aside):
            moved = _with(truth, {act.subject: tuple(_shifted(truth, rle, way) for rle in own)})
            if not Tracks(moved).touching(act.subject, act.object, range(truth.frames)):
                return moved
    raise NoRoom("the agent would leave the picture")


def no_effect(truth: VideoTruth) -> VideoTruth:
    """They touch, and nothing comes of it: the recipient is all the time where it is touched, the agent stops there."""
    act = truth.triplets[0]
    touched = Tracks(truth).touching(act.subject, act.object, range(act.start_frame, act.end_frame))
    if not must_touch(act) or act.dynamism < 4 or not touched or not act.start_frame:
        raise NoRoom("the act has no effect on its recipient that contact would begin")
    first = max(act.start_frame, touched[0])
    agent, recipient = _masks(truth, act.subject), _masks(truth, act.object)
    stops = (*agent[:first], *(agent[first],) * (truth.frames - first))
    return _with(truth, {act.subject: stops, act.object: (recipient[first],) * truth.frames})


def vanishes(truth: VideoTruth) -> VideoTruth:
    """The recipient is not there in the last two frames that are looked at."""
    key = truth.triplets[0].object
    last = chosen_frames(truth.frames)[-2]
    return _with(truth, {key: tuple(rle if f < last else None for f, rle in enumerate(_masks(truth, key)))})


def doubles(truth: VideoTruth) -> VideoTruth:
    """A second of the recipient stands beside it in the last two frames that are looked at."""
    recipient = _instance(truth, truth.triplets[0].object)
    last = chosen_frames(truth.frames)[-2]
    for aside in (truth.width // 6, -truth.width // 6, truth.width // 3, -truth.width // 3):
        masks = tuple(_shifted(truth, rle, aside) if f >= last else None for f, rle in enumerate(recipient.masks))
        more = _and(truth, recipient, masks)
        if Tracks(more).sprang_up(more.instances[-1].id, truth.frames - 1):
            return more
    raise NoRoom("there is no room beside the recipient")


def drifts(truth: VideoTruth) -> VideoTruth:
    """The recipient becomes another of its class in the last two frames that are looked at: no more the one with the
    box."""
    recipient = _instance(truth, truth.triplets[0].object)
    last = chosen_frames(truth.frames)[-2]
    return _and(vanishes(truth), recipient, (None,) * last + recipient.masks[last:])


def static(truth: VideoTruth) -> VideoTruth:
    """A still picture: frame 0 over and over, and nothing happens."""
    still = {i.id: (i.masks[0],) * truth.frames for i in truth.instances}
    return _with(truth, still).model_copy(update={"triplets": ()})


def wrong_one(truth: VideoTruth) -> VideoTruth:
    """Another who looks like the agent does it, and the agent stands by, not quite still."""
    act = truth.triplets[0]
    agent = _instance(truth, act.subject)
    more = _and(truth, agent, agent.masks)
    other = more.instances[-1].id
    aside = truth.width // 3 if _shifted(truth, agent.masks[0], truth.width // 3) else -truth.width // 3
    sway = (round(_SWAY * truth.width * sin(tau * frame / truth.fps / _SWAY_S)) for frame in range(truth.frames))
    idle = _with(more, {act.subject: tuple(_shifted(truth, agent.masks[0], aside + by) for by in sway)})
    return idle.model_copy(update={"triplets": tuple(_by(t, act.subject, other) for t in truth.triplets)})


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


def _instance(truth: VideoTruth, key: InstanceId) -> TrueInstance:
    return next(i for i in truth.instances if i.id == key)


def _masks(truth: VideoTruth, key: InstanceId) -> Masks:
    return _instance(truth, key).masks


def _with(truth: VideoTruth, masks: dict[InstanceId, Masks]) -> VideoTruth:
    """The record with other tracks for some instances."""
    changed = (i.model_copy(update={"masks": masks.get(i.id, i.masks)}) for i in truth.instances)
    return truth.model_copy(update={"instances": tuple(changed)})


def _and(truth: VideoTruth, like: TrueInstance, masks: Masks) -> VideoTruth:
    """The record with one more of the class of `like`, the last of the instances."""
    number = max(int(i.id[2:]) for i in truth.instances) + 1
    more = like.model_copy(update={"id": f"id{number}", "mentions": (), "masks": masks})
    return truth.model_copy(update={"instances": (*truth.instances, more)})


def _shifted(truth: VideoTruth, rle: Rle | None, aside: int) -> Rle | None:
    """A mask moved to the right by so many pixels; None where nothing of it is left in the picture."""
    if rle is None:
        return None
    mask = fill(run_lengths(rle, truth.height, truth.width), truth.height, truth.width)
    moved = np.zeros_like(mask)
    if aside > 0:
        moved[:, aside:] = mask[:, :-aside]
    else:
        moved[:, :aside] = mask[:, -aside:]
    return encoded(moved)


def encoded(mask: Mask) -> Rle | None:
    """The mask [H, W] as run lengths; None where it is empty."""
    if not mask.any():
        return None
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode("ascii")
