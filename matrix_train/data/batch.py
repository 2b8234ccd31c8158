"""Samples put together: everything one training step takes from the data."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.attention.roles import ROLES, RoleWeights, Rows, query_weights, role_masks
from matrix_train.data.dataset import GaveUp, TrainSample
from matrix_train.data.entry import BadEntry
from schemas import Interaction
from schemas.base import InstanceId

_VERB = ROLES.index("verb")


@dataclass(frozen=True)
class Batch:
    """B samples. T, H, W: frames and pixels of the training clip; L: tokens."""

    epoch: int
    position: int
    """How many batches of this rank came before it."""
    keys: tuple[str, ...]
    media: tuple[str, ...]
    """SHA-256 of each sample's mp4."""
    captions: tuple[str, ...]
    prompts: tuple[str, ...]
    """What `input_ids` are of: the captions, with or without tags."""
    interactions: tuple[tuple[Interaction, ...], ...]
    """Of each sample; K is the most of any."""
    ids: tuple[tuple[InstanceId, ...], ...]
    """Instances that a sample's interactions name; I is the most of any."""
    fps: tuple[float, ...]
    """Frames a second of each training clip."""
    video: Tensor
    """uint8 [B, T, 3, H, W], channels last in memory; T is 1 where the dataset decodes the first frame only."""
    masks: Tensor
    """Of the instances in `ids`, uint8 [B, I, T, H, W] in {0, 1}."""
    pairs: Tensor
    """Places of subject and object in `ids`, int64 [B, K, 2]; −1 where a sample has fewer interactions."""
    id_map: Tensor
    """uint8 RGB [B, 3, H, W]."""
    input_ids: Tensor
    """int64 [B, L]."""
    roles: RoleWeights
    """R = 3 K: the ROLES of the first interaction, then of the second, and so on. No token weights for an interaction
    that the prompt does not hold. The verb has no query cells: SPA uses subject and object."""
    aligned: Tensor
    """bool [B]: whether the prompt holds an interaction of the sample."""
    flipped: Tensor
    """bool [B]."""
    bad: tuple[BadEntry, ...]
    """Entries met on the way and replaced."""
    skips: Counter[str]
    """Interactions passed over, by reason; captions not mirrored for naming a side."""

    def to(self, device: torch.device | str) -> Self:
        """On the device; copies from pinned memory do not block."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """In page-locked memory. The name is the one that torch's DataLoader calls."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, move: Callable[[Tensor], Tensor]) -> Self:
        tensors: dict[str, Any] = {
            f.name: move(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        text, video = (Rows(move(rows.index), move(rows.weight)) for rows in (self.roles.text, self.roles.video))
        return replace(self, **tensors, roles=replace(self.roles, text=text, video=video))


@dataclass(frozen=True)
class Collate:
    """Puts samples together for a model whose tokens lie on a lattice of frames × height × width.

    Not the `Grid` itself: workers would load every backbone's libraries to unpack it.
    """

    frames: int
    height: int
    width: int

    def __call__(self, samples: Sequence[TrainSample | GaveUp]) -> Batch | GaveUp:
        """The batch; where one sample failed for good, that one."""
        good = [sample for sample in samples if isinstance(sample, TrainSample)]
        if len(good) < len(samples):
            failed = next(sample for sample in samples if isinstance(sample, GaveUp))
            return replace(failed, bad=tuple(bad for sample in samples for bad in sample.bad))
        masks = _padded([s.masks.view(torch.uint8) for s in good], 0)
        pairs = _padded([s.pairs for s in good], -1)
        text = _padded([s.text for s in good], 0).flatten(1, 2)
        first = role_masks(masks[:, :, :1], pairs, 1)[:, :, 0]
        first[:, _VERB :: len(ROLES)] = 0
        queries = query_weights(first, self.frames, self.height, self.width)
        return Batch(
            epoch=good[0].ref.epoch,
            position=good[0].ref.position,
            keys=tuple(s.key for s in good),
            media=tuple(s.media for s in good),
            captions=tuple(s.caption for s in good),
            prompts=tuple(s.prompt for s in good),
            interactions=tuple(s.interactions for s in good),
            ids=tuple(s.ids for s in good),
            fps=tuple(s.fps for s in good),
            video=_stack([s.video.permute(0, 2, 3, 1) for s in good]).permute(0, 1, 4, 2, 3),
            masks=masks,
            pairs=pairs,
            id_map=_stack([s.id_map for s in good]),
            input_ids=_stack([s.input_ids for s in good]),
            roles=RoleWeights.build(text, queries),
            aligned=text.any(dim=(1, 2)),
            flipped=torch.tensor([s.flipped for s in good]),
            bad=tuple(bad for s in good for bad in s.bad),
            skips=sum((s.passed for s in good), Counter[str]()),
        )


def _stack(tensors: list[Tensor]) -> Tensor:
    """`torch.stack`; of a single one a view, for a clip is 50 MB."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def _padded(tensors: list[Tensor], value: int) -> Tensor:
    """Stacked; those with fewer rows are filled up with this value."""
    rows = max(len(tensor) for tensor in tensors)
    fill = [0] * (2 * tensors[0].ndim - 1)
    return _stack([t if len(t) == rows else F.pad(t, (*fill, rows - len(t)), value=value) for t in tensors])
