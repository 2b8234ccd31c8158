"""Which tokens a role speaks with and which cells it starts from: the weights that turn attention into role maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

ROLES = ("subject", "verb", "object")
"""Order of the roles of an interaction on the role axis R (SGA); SPA uses subject and object."""


Family = Literal["sga", "spa"]
"""Grounding, read from video to text, and propagation, from video to video."""

FAMILY_ROLES: dict[Family, tuple[str, ...]] = {"sga": ROLES, "spa": ("subject", "object")}


@dataclass(frozen=True)
class Rows:
    """The tokens with a non-zero weight in any role: `index` [B, S] in their own stretch, `weight` [B, R, S] float32.

    Rows that only pad a batch to one S point at token 0 with weight 0.
    """

    index: Tensor
    weight: Tensor

    @classmethod
    def build(cls, weights: Tensor) -> "Rows":
        """From dense weights [B, R, L], on the CPU: the number of rows depends on the data."""
        used = (weights != 0).any(dim=1)
        count = max(1, int(used.sum(dim=1).max()))
        # A stable sort of the flags puts the used tokens first, in order.
        index = used.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
        live = used.gather(1, index)
        index = torch.where(live, index, 0)
        weight = weights.float().gather(2, index[:, None].expand(-1, weights.shape[1], -1)) * live[:, None]
        return cls(index, weight)

    def to(self, device: torch.device | str) -> "Rows":
        return Rows(self.index.to(device, non_blocking=True), self.weight.to(device, non_blocking=True))

    @property
    def present(self) -> Tensor:
        """Roles that have any row: [B, R] bool."""
        return (self.weight != 0).any(dim=-1)

    def dense(self, length: int) -> Tensor:
        """The weights as [B, R, length]."""
        batch, roles, _ = self.weight.shape
        index = self.index[:, None].expand(-1, roles, -1)
        return self.weight.new_zeros(batch, roles, length).scatter_add(2, index, self.weight)


@dataclass(frozen=True)
class RoleWeights:
    """T_e and Q_e of paper §4 for a batch: every role's weights sum to 1, or are all zero where the role is absent.

    `text` runs over the `text_length` text tokens, `video` over the `video_length` cells of the latent grid. The joint
    sequence holds the text first.
    """

    text: Rows
    video: Rows
    text_length: int
    video_length: int

    @classmethod
    def build(cls, text: Tensor, video: Tensor) -> "RoleWeights":
        """From text [B, R, L_text] and video [B, R, N_video]. ValueError where a role's weights are not a mean."""
        for name, weights in (("text", text), ("video", video)):
            total = weights.double().sum(-1)
            if bool((weights < 0).any()) or bool(((total != 0) & ((total - 1).abs() > 1e-4)).any()):
                raise ValueError(f"{name} weights of a role must be non-negative and sum to 1, or all be zero")
        return cls(Rows.build(text), Rows.build(video), text.shape[-1], video.shape[-1])

    def to(self, device: torch.device | str) -> "RoleWeights":
        return RoleWeights(self.text.to(device), self.video.to(device), self.text_length, self.video_length)


def token_weights(tokens: Sequence[Sequence[int]], length: int) -> Tensor:
    """Token index sets, one per role, as weights [R, length]: the mean over the set, zero for an empty one."""
    weights = torch.zeros(len(tokens), length)
    for role, indices in enumerate(tokens):
        if indices:
            weights[role, list(indices)] = 1.0 / len(indices)
    return weights


def query_weights(first_masks: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Q_e from first-frame masks: the mean over the first latent frame's cells that the mask covers.

    first_masks: [B, R, H_px, W_px] in {0, 1}; height and width of the grid divide H_px and W_px. Returns
    [B, R, frames · height · width], all zero for an empty mask: the role is absent.
    """
    chosen = covered_cells(first_masks, height, width).flatten(2).float()
    weights = chosen / chosen.sum(dim=-1, keepdim=True).clamp(min=1.0)
    return F.pad(weights, (0, (frames - 1) * height * width))


def role_masks(masks: Tensor, pairs: Tensor, stride: int) -> Tensor:
    """Masks of every interaction's ROLES at a stride, the verb's being subject ∨ object (paper §4).

    masks: instances' [B, I, T, H, W] in {0, 1}. pairs: places of subject and object among them [B, K, 2], −1 for no
    interaction, whose masks are empty. Returns the share of each stride × stride block that is covered,
    [B, 3 K, T, H / stride, W / stride] float32; the same dtype as given for stride 1.
    """
    samples = torch.arange(len(masks), device=masks.device)[:, None, None]
    chosen = masks[samples, pairs.clamp(min=0)] * (pairs >= 0)[..., None, None, None]
    subject, obj = chosen.unbind(2)
    roles = torch.stack([subject, torch.maximum(subject, obj), obj], dim=2).flatten(1, 2)
    if stride == 1:
        return roles
    return torch.stack([F.avg_pool2d(role.float(), stride) for role in roles.unbind(1)], dim=1)


def covered_cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks [..., H_px, W_px] on the latent grid [..., height, width], bool: cells that are filled by half or more.

    A mask that fills no cell by half gets its fullest cells instead, so that a small instance is not lost.
    """
    fill = F.avg_pool2d(masks.flatten(0, -3)[:, None].float(), (masks.shape[-2] // height, masks.shape[-1] // width))
    fill = fill.view(*masks.shape[:-2], height, width)
    fullest = fill.amax(dim=(-2, -1), keepdim=True)
    return (fill >= fullest.clamp(max=0.5)) & (fill > 0)
