"""SGA and SPA: role maps against mask tracks (paper §5).

    L_SGA = mean over blocks and interactions Σ_{subject, verb, object} ℓ(D(A_e), M_e)      on v2t maps
    L_SPA = mean over blocks and interactions Σ_{subject, object}       ℓ(D(A_e), M_e)      on v2v maps
    ℓ(X, Y) = β_bce BCE + β_dice (1 − Dice) + β_l2 ‖σ(X) − Y‖²             X logits, Y masks, means over pixels
    L = L_DM + λ_SGA L_SGA + λ_SPA L_SPA

By definition, not by luck: a role that is absent (it has no tokens, or no query cells) adds exactly 0 to value and
gradient. A role that is present but whose mask is empty in every frame adds BCE and L2 against the empty mask and no
Dice term, which would be 0/0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from matrix_train.align.decoder import MapDecoder, at_stride
from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import FAMILY_ROLES, ROLES, Family
from matrix_train.backbones.collector import MapKey
from matrix_train.config import AlignConfig

PARTS = ("bce", "dice", "l2")

CHUNK_PIXELS = {"cpu": 2**21}
"""Pixels whose loss is formed at once, by kind of device: on a CPU what its caches hold (8 MB for each value kept)."""

CHUNK_PIXELS_ELSEWHERE = 2**24
"""On a GPU what keeps it busy: a map of 49 × 480 × 720 takes two launches of each kernel instead of nine. A dozen
values for each pixel are 0.4 GB then, at a time when the backward pass has not yet begun to form its gigabytes."""


@dataclass(frozen=True)
class LossWeights:
    """λ as in the authors' code, β = 1; the paper publishes neither."""

    sga: float = 0.01
    spa: float = 0.005
    bce: float = 1.0
    dice: float = 1.0
    l2: float = 1.0
    max_pos_weight: float = 10.0


@dataclass(frozen=True)
class Alignment:
    """`total` carries the gradient. `logs` holds detached scalars: `sga.bce` is the part by itself, mean over the
    samples that have a role of the family; `sga.bce.weighted` what it adds to `total`, mean over all samples; `sga` and
    `sga.weighted` their sums over parts, `sga.subject` … the share of a role. `sga.aligned` is the share of samples
    that have one: where it is 0, the means over them are 0 and mean nothing."""

    total: Tensor
    logs: dict[str, Tensor]


def mask_parts(lattice: Tensor, masks: Tensor, stride: int, max_pos_weight: float) -> Tensor:
    """BCE, 1 − Dice and L2 of every map, [B, R, 3] in the order of PARTS, unweighted.

    lattice: [B, R, T, h, w] from `MapDecoder.lattice`. masks: [B, R, T, H, W] at this stride. Positive pixels weigh
    min(neg / pos, max_pos_weight) in BCE; without positive pixels there is nothing to weigh.

    All three are sums over pixels, so a few frames are taken at a time and formed again in the backward pass: at
    stride 1 a map has 17 million pixels, and a loss keeps a handful of values for each.
    """
    pixels = masks[0, 0].numel()
    positive = masks.sum(dim=(-3, -2, -1), dtype=torch.float32)
    # pos = 0 gives the cap: 0/0 cannot arise.
    pos_weight = ((pixels - positive) / positive.clamp(min=1e-6)).clamp(max=max_pos_weight)
    most = max(1, CHUNK_PIXELS.get(masks.device.type, CHUNK_PIXELS_ELSEWHERE) // masks[:, :, 0].numel())
    # As many frames in the last chunk as in the others, or nearly.
    step = -(-masks.shape[2] // -(-masks.shape[2] // most))
    total = torch.zeros(*masks.shape[:2], 4, device=lattice.device)
    for values, targets in zip(torch.split(lattice, step, dim=2), torch.split(masks, step, dim=2), strict=True):
        total = total + _recomputed_sums(values, targets, pos_weight, stride)
    bce, predicted, overlap, squares = total.unbind(dim=-1)
    dice = torch.where(positive > 0, 1.0 - 2.0 * overlap / (predicted + positive).clamp(min=1e-6), 0.0)
    return torch.stack([bce / pixels, dice, squares / pixels], dim=-1)


def _recomputed_sums(lattice: Tensor, masks: Tensor, pos_weight: Tensor, stride: int) -> Tensor:
    """Over these frames: Σ BCE, Σ x, Σ x y, Σ (x − y)² with x = σ(logits): [B, R, 4]."""

    def run(lattice: Tensor, masks: Tensor) -> Tensor:
        logits, y = at_stride(lattice, stride), masks.float()
        x = logits.sigmoid()
        weight = pos_weight[..., None, None, None]
        bce = F.binary_cross_entropy_with_logits(logits, y, pos_weight=weight, reduction="none")
        return torch.stack([part.sum(dim=(-3, -2, -1)) for part in (bce, x, x * y, (x - y).square())], dim=-1)

    sums: Tensor = checkpoint(run, lattice, masks, use_reentrant=False, preserve_rng_state=False)
    return sums


def alignment_loss(
    maps: Mapping[Family, list[Tensor]],
    decoders: Mapping[Family, MapDecoder],
    masks: Tensor,
    present: Mapping[Family, Tensor],
    weights: LossWeights,
    stride: int,
    timestep_weight: Tensor | None = None,
) -> Alignment:
    """λ_SGA L_SGA + λ_SPA L_SPA of a batch, mean over its samples, each sample times its timestep weight if given.

    R = 3 K roles: those of a sample's first interaction, then of its second. A sample's loss is the mean over its
    interactions that have a role of the family. maps: per family one [B, R, F, h, w] per tapped block. masks:
    [B, R, T, H, W] from `role_masks` at this stride. present: per family [B, R] bool. timestep_weight: [B].
    """
    batch = masks.shape[0]
    sample_weight = torch.ones(batch, device=masks.device) if timestep_weight is None else timestep_weight.float()
    # Plain numbers: a tensor made from them would be a copy to the device, and a wait, in every step.
    betas = (weights.bce, weights.dice, weights.l2)
    total = torch.zeros((), device=masks.device)
    logs: dict[str, Tensor] = {}
    for family, blocks in maps.items():
        scale = {"sga": weights.sga, "spa": weights.spa}[family]
        aligned = present[family].any(dim=1).float().mean()
        # Mean over the batch → mean over the samples that have a role.
        among = 1.0 / aligned.clamp(min=1.0 / batch)
        raw = torch.zeros(3, device=masks.device)
        by_sample = torch.zeros(3, device=masks.device)
        acts = present[family].view(batch, -1, len(ROLES)).any(dim=2).sum(dim=1).clamp(min=1)
        for name in FAMILY_ROLES[family]:
            every = slice(ROLES.index(name), None, len(ROLES))
            lattices = [decoders[family].lattice(m[:, every], place) for place, m in enumerate(blocks)]
            parts = [mask_parts(values, masks[:, every], stride, weights.max_pos_weight) for values in lattices]
            # An absent role's map is all zero, so its parts are finite; here they and their gradient become exactly 0.
            each = torch.where(present[family][:, every, None], torch.stack(parts).mean(dim=0), 0.0)
            mean = each.sum(dim=1) / acts[:, None]
            part = among * mean.mean(dim=0)
            logs[f"{family}.{name}"] = _dot(part, betas).detach()
            raw = raw + part
            by_sample = by_sample + (mean * sample_weight[:, None]).mean(dim=0)
        total = total + scale * _dot(by_sample, betas)
        for name, beta, value, share in zip(PARTS, betas, raw.detach(), by_sample.detach(), strict=True):
            logs[f"{family}.{name}"], logs[f"{family}.{name}.weighted"] = value, scale * beta * share
        logs[family], logs[f"{family}.aligned"] = _dot(raw, betas).detach(), aligned
        logs[f"{family}.weighted"] = scale * _dot(by_sample, betas).detach()
    return Alignment(total, logs)


def make_decoders(align: AlignConfig, grid: Grid) -> nn.ModuleDict:
    """A head for each family that has a λ."""
    decoders = nn.ModuleDict()
    for family, blocks in align.tapped.items():
        keys = grid.text_keys if family == "sga" else None
        prior = align.prior or 1 / (keys or grid.cells)
        decoders[family] = MapDecoder(
            align.channels, grid.time_factor, align.attention_map, prior, len(blocks), grid.pixels, keys
        )
    return decoders


def by_family(maps: Mapping[MapKey, Tensor], grid: Grid) -> dict[Family, list[Tensor]]:
    """Maps by loss family, each [B, R, F, h, w], in the order of their blocks."""
    families: dict[Family, list[Tensor]] = {}
    for (_, direction), values in sorted(maps.items()):
        families.setdefault("spa" if direction == "v2v" else "sga", []).append(grid.fold(values))
    return families


def _dot(parts: Tensor, betas: tuple[float, ...]) -> Tensor:
    """Σ β · part over the last dimension."""
    return torch.stack([beta * part for beta, part in zip(betas, parts.unbind(dim=-1), strict=True)]).sum(dim=0)
