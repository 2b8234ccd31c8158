"""L = L_DM + λ_SGA L_SGA + λ_SPA L_SPA of a batch, as one module, so that DDP and FSDP see all that is trained."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from matrix_train.align.decoder import MapDecoder
from matrix_train.align.losses import Family, LossWeights, alignment_loss, by_family, make_decoders
from matrix_train.align.metrics import aas, inside_over_outside, map_mask_correlation
from matrix_train.attention.grid import Grid
from matrix_train.backbones import Backbone
from matrix_train.config import AlignConfig
from matrix_train.fit.inputs import Inputs
from matrix_train.fit.means import ALIGNED

Purpose = Literal["train", "decode", "attend"]


class AlignedModel(nn.Module):
    """The backbone's model and the decoders.

    Its trainable parameters have the names of `trainable_parameters`, which are those of a checkpoint.

    Without alignment the forward pass is that of plain LoRA training, bit for bit.
    """

    def __init__(self, backbone: Backbone, grid: Grid, align: AlignConfig, scheduler: Any) -> None:
        super().__init__()
        self.backbone = backbone.model
        self.decoders = make_decoders(align, grid)
        self.objective = backbone.objective(scheduler)
        # Where accelerate looks for what FSDP shards one by one.
        self._no_split_modules = [backbone.block_class]
        self._predictor, self._grid, self._align = backbone, grid, align
        self._weights = LossWeights(align.sga, align.spa, align.bce, align.dice, align.l2, align.max_pos_weight)

    def forward(self, inputs: Inputs, purpose: Purpose = "train") -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of the batch, and detached scalars.

        `train`: parts of the loss, see `losses.Alignment.logs`, and the signed correlation of map and mask. `decode`:
        these and the IoU of the decoded masks. `attend`: what `metrics` has on the tapped maps, no alignment loss.
        Numbers of a family that no sample of the batch has are 0; `Means` leaves them out by its `aligned`.
        Every purpose goes through here, since FSDP gathers weights only in the forward pass of the whole.
        """
        clean, noise = inputs.clean.float(), inputs.noise.float()
        noised = self.objective.noised(clean, noise, inputs.timesteps)
        roles = inputs.roles if len(self.decoders) or purpose == "attend" else None
        output, maps = self._predictor.predict(
            noised.to(inputs.clean.dtype), inputs.conditions, inputs.prompt, inputs.timesteps, roles
        )
        loss = self.objective.error(output, noised, clean, noise, inputs.timesteps).mean()
        logs = {"diffusion": loss.detach()}
        families = by_family(maps, self._grid)
        if purpose == "attend":
            for family, blocks in families.items():
                present = inputs.present[family]
                logs[f"{family}.{ALIGNED}"] = present.any(dim=1).float().mean()
                logs[f"{family}.aas"] = mean_over_roles([aas(m, inputs.cells) for m in blocks], present)
                ratios = [inside_over_outside(m, inputs.cells) for m in blocks]
                logs[f"{family}.inside_over_outside"] = mean_over_roles(ratios, present)
                logs[f"{family}.correlation"] = mean_correlation(blocks, inputs, family)
            return loss, logs
        if families:
            weight = self.objective.signal(inputs.timesteps) if self._align.timestep_weight else None
            decoders = {family: self._decoder(family) for family in families}
            stride = self._align.supervise_stride
            alignment = alignment_loss(families, decoders, inputs.masks, inputs.present, self._weights, stride, weight)
            loss = loss + alignment.total
            logs |= alignment.logs
            for family, blocks in families.items():
                logs[f"{family}.correlation"] = mean_correlation(blocks, inputs, family)
                logs[f"{family}.gain"] = decoders[family].gain.detach()
                if purpose == "decode":
                    ious = [mask_iou(decoders[family](m, stride) > 0, inputs.masks > 0.5) for m in blocks]
                    logs[f"{family}.iou"] = mean_over_roles(ious, inputs.present[family])
        logs["loss"] = loss.detach()
        return loss, logs

    def _decoder(self, family: Family) -> MapDecoder:
        decoder: MapDecoder = self.decoders[family]  # type: ignore[assignment]
        return decoder


def mask_iou(found: Tensor, masks: Tensor) -> Tensor:
    """IoU over the whole clip, bool [B, R, T, H, W] → [B, R]; 1 where both are empty."""
    both = (found & masks).sum(dim=(-3, -2, -1))
    either = (found | masks).sum(dim=(-3, -2, -1))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def mean_over_roles(blocks: list[Tensor], present: Tensor) -> Tensor:
    """Mean of [B, R] values over blocks, samples and the roles that are present; 0 where none is."""
    values = torch.stack(blocks).mean(dim=0)
    return (values * present).sum() / present.sum().clamp(min=1)


def mean_correlation(blocks: list[Tensor], inputs: Inputs, family: Family) -> Tensor:
    """Signed correlation of map and mask, mean over blocks, samples and roles where it is defined; else 0."""
    total = torch.zeros((), dtype=torch.float64, device=inputs.cells.device)
    count = torch.zeros_like(total)
    for values in blocks:
        correlation, defined = map_mask_correlation(values.detach(), inputs.cells)
        defined = defined & inputs.present[family]
        total, count = total + (correlation * defined).sum(), count + defined.sum()
    return total / count.clamp(min=1)
