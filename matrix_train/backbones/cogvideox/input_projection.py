"""The input projection of CogVideoX, grown for the ID map: old weights copied, new ones zero (paper App. D)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from matrix_train.errors import UserError

LATENT_CHANNELS = 16
INPUT_CHANNELS = 3 * LATENT_CHANNELS
"""Noise latent, first-frame latent, ID-map latent."""


def grow_input(model: Any) -> None:
    """Grows the patch embedding to INPUT_CHANNELS in place, where it is not that wide yet, and makes it trainable."""
    embed, known = model.patch_embed, model.config.in_channels
    if known > INPUT_CHANNELS:
        raise UserError(f"this model reads {known} input channels, more than the {INPUT_CHANNELS} that MATRIX gives")
    if known < INPUT_CHANNELS:
        embed.proj = _GrownConv(embed.proj) if isinstance(embed.proj, nn.Conv2d) else _GrownLinear(embed.proj, known)
        model.register_to_config(in_channels=INPUT_CHANNELS)
    embed.proj.requires_grad_(True)


class _GrownConv(nn.Conv2d):
    """The stock convolution over the known channels plus one over the new ones, kept in a single weight.

    Two sums, because one kernel over all channels may add in another order, and step 0 would be equal only nearly.
    """

    def __init__(self, old: nn.Conv2d) -> None:
        size, bias = old.weight.shape[-1], old.bias is not None
        super().__init__(INPUT_CHANNELS, old.out_channels, size, stride=size, bias=bias, **_place(old))
        self.known = old.in_channels
        _copy_into(self, old, self.known)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, known = *_cast(self, x), self.known
        base = F.conv2d(x[:, :known].contiguous(), weight[:, :known].contiguous(), bias, self.stride)
        return base + F.conv2d(x[:, known:].contiguous(), weight[:, known:].contiguous(), None, self.stride)


class _GrownLinear(nn.Linear):
    """The same for the linear patch embedding of 1.5.

    It reads a patch flattened as (channel, t, y, x), channel first: new channels are new columns at the end.
    """

    def __init__(self, old: nn.Linear, channels: int) -> None:
        features = old.in_features // channels * INPUT_CHANNELS
        super().__init__(features, old.out_features, bias=old.bias is not None, **_place(old))
        self.known = old.in_features
        _copy_into(self, old, self.known)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, known = *_cast(self, x), self.known
        base = F.linear(x[..., :known].contiguous(), weight[:, :known].contiguous(), bias)
        return base + F.linear(x[..., known:].contiguous(), weight[:, known:].contiguous())


def _cast(layer: nn.Conv2d | nn.Linear, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in the dtype of the input: the trained copy may be float32 in a bfloat16 model."""
    return layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype)


def _place(old: nn.Module) -> dict[str, Any]:
    weight = old.get_parameter("weight")
    return {"device": weight.device, "dtype": weight.dtype}


def _copy_into(new: nn.Conv2d | nn.Linear, old: nn.Conv2d | nn.Linear, known: int) -> None:
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :known] = old.weight
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
