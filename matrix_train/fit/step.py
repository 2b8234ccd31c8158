"""L = L_DM + λ_SGA L_SGA + λ_SPA L_SPA of a batch, as one module, so that DDP and FSDP see all that is trained."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from matrix_train.align.decoder import MapDecoder
from matrix_train.align.losses import Alignment, LossWeights, alignment_loss, by_family, make_decoders
from matrix_train.align.metrics import aas, inside_over_outside, map_mask_correlation, mean_and_spread
from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import Family
from matrix_train.backbones import Backbone
from matrix_train.config import AlignConfig
from matrix_train.fit.inputs import Inputs
from matrix_train.fit.means import ALIGNED

NOTHING_LESS: Mapping[Family, float] = {"sga": 1.0, "spa": 1.0}

Purpose = Literal["train", "diffusion", "alignment", "decode", "attend", "level"]


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

    def forward(
        self, inputs: Inputs, purpose: Purpose = "train", shares: Mapping[Family, float] = NOTHING_LESS
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of the batch, and detached scalars. shares: of a family's λ that count at this step.

        `train`: parts of the loss, see `losses.Alignment.logs`, and the signed correlation of map and mask. `diffusion`
        and `alignment`: these parts alone. `decode`: as `train`, with the IoU of the decoded masks, and where the maps
        lie. `attend`: what `metrics` has on the tapped maps, no alignment loss. `level`: the mean of each block's maps
        in nats, no loss. Numbers of a family that no sample of the batch has are 0; `Means` leaves them out by its
        `aligned`. Every purpose goes through here, since FSDP gathers weights only in the forward pass of the whole.
        """
        clean, noise = inputs.clean.float(), inputs.noise.float()
        noised = self.objective.noised(clean, noise, inputs.timesteps)
        maps_wanted = (len(self.decoders) and purpose != "diffusion") or purpose == "attend"
        output, maps = self._predictor.predict(
            noised.to(inputs.clean.dtype), inputs.conditions, inputs.timesteps, inputs.roles if maps_wanted else None
        )
        loss = self.objective.error(output, noised, clean, noise, inputs.timesteps).mean()
        logs = {"diffusion": loss.detach()}
        families = by_family(maps, self._grid)
        for family in families if purpose in ("attend", "level") else ():
            logs[f"{family}.{ALIGNED}"] = inputs.present[family].any(dim=1).float().mean()
        if purpose == "attend":
            for family, blocks in families.items():
                present = inputs.present[family]
                logs[f"{family}.aas"] = mean_over_roles([aas(m, inputs.cells) for m in blocks], present)
                ratios = [inside_over_outside(m, inputs.cells) for m in blocks]
                logs[f"{family}.inside_over_outside"] = mean_over_roles(ratios, present)
                logs[f"{family}.correlation"] = mean_correlation(blocks, inputs, family)
            return loss, logs
        if purpose == "level":
            for family, block, nats in self._in_nats(families):
                level = mean_over_roles([nats.mean(dim=(-3, -2, -1))], inputs.present[family])
                logs[f"{family}.{block}.level"] = level
            return loss, logs
        if families:
            alignment = self._alignment(families, inputs, shares)
            loss = alignment.total if purpose == "alignment" else loss + alignment.total
            logs |= alignment.logs
            for family, blocks in families.items():
                logs[f"{family}.correlation"] = mean_correlation(blocks, inputs, family)
                logs[f"{family}.gain"] = self._decoder(family).gain.detach()
            if purpose == "decode":
                logs |= self._decoded(families, inputs)
        logs["loss"] = loss.detach()
        return loss, logs

    def _alignment(
        self, families: Mapping[Family, list[Tensor]], inputs: Inputs, shares: Mapping[Family, float]
    ) -> Alignment:
        weighing = {"none": None, "signal": self.objective.signal, "diffusion": self.objective.weight}
        weigh = weighing[self._align.timestep_weight]
        weights = replace(self._weights, sga=self._weights.sga * shares["sga"], spa=self._weights.spa * shares["spa"])
        return alignment_loss(
            families, {family: self._decoder(family) for family in families}, inputs.masks, inputs.present, weights,
            self._align.supervise_stride, weigh and weigh(inputs.timesteps),
        )  # fmt: skip

    def _decoded(self, families: Mapping[Family, list[Tensor]], inputs: Inputs) -> dict[str, Tensor]:
        """IoU of the decoded masks; mean and spread of each block's maps in nats, inside and outside the masks."""
        logs, stride = dict[str, Tensor](), self._align.supervise_stride
        for family, blocks in families.items():
            decoder = self._decoder(family)
            ious = [mask_iou(decoder(m, stride, i) > 0, inputs.masks > 0.5) for i, m in enumerate(blocks)]
            logs[f"{family}.iou"] = mean_over_roles(ious, inputs.present[family])
        for family, block, nats in self._in_nats(families):
            for where, cells in (("inside", inputs.cells), ("outside", ~inputs.cells)):
                measured = zip(("mean", "spread"), mean_and_spread(nats, cells), strict=True)
                for name, values in measured:
                    logs[f"{family}.{block}.{where}.{name}"] = mean_over_roles([values], inputs.present[family])
        return logs

    def _in_nats(self, families: Mapping[Family, list[Tensor]]) -> Iterator[tuple[Family, int, Tensor]]:
        """Family, block and maps as its decoder reads them."""
        for family, blocks in families.items():
            for block, maps in zip(self._align.tapped[family], blocks, strict=True):
                yield family, block, self._decoder(family).in_nats(maps.detach())

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
