"""What is measured on role maps: AAS (paper §4), how it splits, and the signed correlation of map and mask."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.attention.roles import covered_cells


def latent_masks(masks: Tensor, height: int, width: int, time_factor: int = 4) -> Tensor:
    """m_e: mask tracks on the latent grid. masks: [B, R, T, H, W] in {0, 1} → [B, R, F, height, width] bool.

    Frame 0 stands alone, then each group of `time_factor` frames is joined by OR, as in the authors' analysis: 49 → 13.
    A cell counts as covered by the rule of `covered_cells`.
    """
    first, rest = masks[:, :, :1].bool(), masks[:, :, 1:].bool()
    groups = rest.view(*rest.shape[:2], -1, time_factor, *rest.shape[3:]).any(dim=3)
    return covered_cells(torch.cat([first, groups], dim=2), height, width)


def aas(maps: Tensor, masks: Tensor) -> Tensor:
    """Attention alignment score Σ A_e ⊙ m_e of softmax maps, raw: maps and masks [B, R, F, h, w] → [B, R]."""
    return (maps * masks).sum(dim=(-3, -2, -1))


def inside_over_outside(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean attention of a cell in the mask over that of a cell outside, softmax maps: [B, R, F, h, w] → [B, R].

    1 for attention that does not know the instance. AAS grows with attention to the role anywhere; this does not. Where
    the mask holds no cell or all of them there is nothing to compare: 1.
    """
    inside, cells = aas(maps, masks), masks.sum(dim=(-3, -2, -1))
    outside, others = aas(maps, ~masks), (~masks).sum(dim=(-3, -2, -1))
    ratio = inside * others / (outside * cells).clamp(min=torch.finfo(maps.dtype).tiny)
    return torch.where((cells > 0) & (others > 0), ratio, 1.0)


def mean_and_spread(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the cells of the masks: maps and masks [B, R, F, h, w] → [B, R] each, 0 where a
    mask has no cell."""
    count = masks.sum(dim=(-3, -2, -1)).clamp(min=1)
    mean = aas(maps, masks) / count
    centred = (maps - mean[..., None, None, None]).square()
    return mean, (aas(centred, masks) / count).sqrt()


def map_mask_correlation(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Pearson correlation of map and mask over all cells, with its sign: [B, R], and where it is defined: [B, R] bool.

    A negative value means that training pushes attention off the instance. Where the map or the mask is constant there
    is no correlation: the value is 0 and the flag is False.
    """
    a, m = maps.double().flatten(2), masks.double().flatten(2)
    a, m = a - a.mean(dim=-1, keepdim=True), m - m.mean(dim=-1, keepdim=True)
    # Both are unit vectors or, where constant up to rounding, left out.
    defined = (a.norm(dim=-1) > 1e-9 * maps.double().flatten(2).norm(dim=-1)) & (m.norm(dim=-1) > 0)
    correlation = (F.normalize(a, dim=-1, eps=1e-300) * F.normalize(m, dim=-1, eps=1e-300)).sum(dim=-1)
    return torch.where(defined, correlation, 0.0), defined
