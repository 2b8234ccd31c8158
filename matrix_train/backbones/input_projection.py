"""An input layer grown for the ID map, old weights copied, new ones zero (paper App. D), and ready to be trained."""

from typing import Any

import torch
from torch import Tensor, nn


def grow(layer: nn.Module, known: int, wanted: int) -> nn.Module:
    """A patch embedding over `known` channels as one over `wanted`; new channels come after the old ones.

    The result is the stock layer over the known channels plus one over the new ones, kept in a single weight. Two sums,
    because one kernel over all channels may add in another order, and step 0 would be equal only nearly. Where all are
    known it is the stock layer, but for weights that may be float32 in a bfloat16 model: those that are trained are. A
    layer that came from here is given back.
    """
    if isinstance(layer, (_GrownConv2d, _GrownConv3d, _GrownLinear)):
        return layer
    if isinstance(layer, nn.Linear):
        # It reads a patch flattened as (channel, t, y, x), channel first: new channels are new columns at the end.
        return _GrownLinear(layer, layer.in_features // known * wanted)
    kinds: dict[type[nn.Module], Any] = {nn.Conv2d: _GrownConv2d, nn.Conv3d: _GrownConv3d}
    made: nn.Module = kinds[type(layer)](layer, wanted)
    return made


class _GrownConv2d(nn.Conv2d):
    """Its kernel is its stride."""

    def __init__(self, old: nn.Conv2d, channels: int) -> None:
        size, bias = old.kernel_size, old.bias is not None
        super().__init__(channels, old.out_channels, size, old.stride, bias=bias, **_place(old))  # type: ignore[arg-type]
        self.known = old.in_channels
        _copy_into(self, old, self.known)

    def forward(self, x: Tensor) -> Tensor:
        return _in_two_sums(torch.conv2d, self, x)


class _GrownConv3d(nn.Conv3d):
    """Likewise."""

    def __init__(self, old: nn.Conv3d, channels: int) -> None:
        size, bias = old.kernel_size, old.bias is not None
        super().__init__(channels, old.out_channels, size, old.stride, bias=bias, **_place(old))  # type: ignore[arg-type]
        self.known = old.in_channels
        _copy_into(self, old, self.known)

    def forward(self, x: Tensor) -> Tensor:
        return _in_two_sums(torch.conv3d, self, x)


def _in_two_sums(convolve: Any, layer: Any, x: Tensor) -> Tensor:
    (weight, bias), known = _cast(layer, x), layer.known
    if known == layer.in_channels:
        whole: Tensor = convolve(x, weight, bias, layer.stride)
        return whole
    base: Tensor = convolve(x[:, :known].contiguous(), weight[:, :known].contiguous(), bias, layer.stride)
    more: Tensor = convolve(x[:, known:].contiguous(), weight[:, known:].contiguous(), None, layer.stride)
    return base + more


class _GrownLinear(nn.Linear):
    def __init__(self, old: nn.Linear, features: int) -> None:
        super().__init__(features, old.out_features, bias=old.bias is not None, **_place(old))
        self.known = old.in_features
        _copy_into(self, old, self.known)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, known = *_cast(self, x), self.known
        if known == self.in_features:
            return nn.functional.linear(x, weight, bias)
        base = nn.functional.linear(x[..., :known].contiguous(), weight[:, :known].contiguous(), bias)
        return base + nn.functional.linear(x[..., known:].contiguous(), weight[:, known:].contiguous())


def _cast(layer: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in the dtype of the input."""
    return layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype)


def _place(old: nn.Module) -> dict[str, Any]:
    weight = old.get_parameter("weight")
    return {"device": weight.device, "dtype": weight.dtype}


def _copy_into(new: Any, old: Any, known: int) -> None:
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :known] = old.weight
        if new.bias is not None:
            new.bias.copy_(old.bias)
