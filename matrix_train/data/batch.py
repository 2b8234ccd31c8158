"""Samples put together: everything one training step takes from the data."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from matrix_train.attention.roles import ROLES, RoleWeights, Rows, query_weights
from matrix_train.data.dataset import GaveUp, TrainSample
from matrix_train.data.entry import BadEntry
from schemas import Interaction

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
    interactions: tuple[Interaction, ...]
    """The chosen one of each sample."""
    video: Tensor
    """uint8 [B, T, 3, H, W], channels last in memory; T is 1 where the dataset decodes the first frame only."""
    subject: Tensor
    """Masks, uint8 [B, T, H, W] in {0, 1}."""
    object: Tensor
    """Masks, uint8 [B, T, H, W] in {0, 1}."""
    id_map: Tensor
    """uint8 RGB [B, 3, H, W]."""
    input_ids: Tensor
    """int64 [B, L]."""
    roles: RoleWeights
    """No weights at all where not `aligned`. The verb has no query cells: SPA uses subject and object."""
    aligned: Tensor
    """bool [B]: False for samples that train the diffusion loss alone."""
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
        subject, obj = (_stack([getattr(s, role).view(torch.uint8) for s in good]) for role in ("subject", "object"))
        aligned = torch.tensor([s.skip is None for s in good])
        first = torch.stack([subject[:, 0], torch.zeros_like(subject[:, 0]), obj[:, 0]], dim=1)
        queries = query_weights(first, self.frames, self.height, self.width)
        queries = queries * aligned[:, None, None]
        return Batch(
            epoch=good[0].ref.epoch,
            position=good[0].ref.position,
            keys=tuple(s.key for s in good),
            media=tuple(s.media for s in good),
            captions=tuple(s.caption for s in good),
            interactions=tuple(s.interaction for s in good),
            video=_stack([s.video.permute(0, 2, 3, 1) for s in good]).permute(0, 1, 4, 2, 3),
            subject=subject,
            object=obj,
            id_map=_stack([s.id_map for s in good]),
            input_ids=_stack([s.input_ids for s in good]),
            roles=RoleWeights.build(_stack([s.text for s in good]), queries),
            aligned=aligned,
            flipped=torch.tensor([s.flipped for s in good]),
            bad=tuple(bad for s in good for bad in s.bad),
            skips=sum((s.passed for s in good), Counter[str]()),
        )


def _stack(tensors: list[Tensor]) -> Tensor:
    """`torch.stack`; of a single one a view, for a clip is 50 MB."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)
