"""FLOPs of a training step, counted by PyTorch's `FlopCounterMode`; on the meta device without any data.

backbone = kind.from_config(config, torch.bfloat16, "meta")
count_flops(training_step(backbone, 49, 480, 720, roles=None, stride=1))
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils import flop_counter

from matrix_train.align.decoder import MapDecoder
from matrix_train.align.losses import LossWeights, alignment_loss, by_family
from matrix_train.attention.roles import ROLES, Family, RoleWeights
from matrix_train.backbones.base import Backbone

_counter: Any = flop_counter  # typed in part only
_aten = torch.ops.aten
_CPU_KERNELS: dict[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu:
        lambda q, k, v, *_, **__: _counter.sdpa_flop_count(q, k, v),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        lambda grad, q, k, v, *_, **__: _counter.sdpa_backward_flop_count(grad, q, k, v),
}  # fmt: skip
"""The operators that stand for attention on the meta device: PyTorch 2.11's counter does not know them."""


def count_flops(run: Callable[[], object]) -> int:
    """FLOPs of `run`: matrix products, convolutions and attention; recomputed ones count again."""
    counter = _counter.FlopCounterMode(display=False, custom_mapping=_CPU_KERNELS)
    with counter, fused_attention():
        run()
    return int(counter.get_total_flops())


def matmul_rate(device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOPs per second of plain matrix products on this device, measured now: what MFU is a share of."""
    size, rounds = (8192, 10) if device.type == "cuda" else (768, 3)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = a @ b
    best = 0.0
    for _ in range(rounds):
        wait_for(device)
        began = clock()
        torch.matmul(a, b, out=product)
        wait_for(device)
        best = max(best, 2 * size**3 / (clock() - began))
    return best


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Attention as one fused operator on the meta device too, where PyTorch would spell out the N × N matrix.

    A fused backward pass forms the scores again: 2.5 times the forward pass instead of 2. The function itself is put
    aside, not a `TorchFunctionMode` set: such a mode does not reach what checkpointing forms again.
    """
    plain = F.scaled_dot_product_attention

    # PyTorch's names of the arguments: diffusers gives them by name.
    def fused(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        if query.device.type != "meta":
            return plain(query, key, value, **options)
        scale = options.get("scale")
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, scale=scale)[0]
        return out

    F.scaled_dot_product_attention = fused  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain


def costly_roles(backbone: Backbone, frames: int, height: int, width: int, tokens: int) -> RoleWeights:
    """The costliest roles: subject and object share every cell of the first frame, each role has `tokens` tokens."""
    grid = backbone.grid(frames, height, width)
    text = torch.zeros(1, len(ROLES), backbone.prompt_shape[0])
    video = torch.zeros(1, len(ROLES), grid.cells)
    for role in range(len(ROLES)):
        text[:, role, role * tokens : (role + 1) * tokens] = 1 / tokens
    first = grid.height * grid.width
    video[:, 0, : first // 2], video[:, 2, first // 2 : first] = 1 / (first // 2), 1 / (first - first // 2)
    return RoleWeights.build(text, video).to(backbone.model.device)


def training_step(
    backbone: Backbone, frames: int, height: int, width: int, roles: RoleWeights | None, stride: int
) -> Callable[[], None]:
    """One step with batch 1 on all-zero input: forward, alignment loss where there are roles, backward."""
    grid = backbone.grid(frames, height, width)
    device = backbone.model.device
    latents, conditions, timesteps = backbone.blank(1, frames, height, width)
    masks = torch.zeros(1, len(ROLES), frames, height // stride, width // stride, device=device)

    def run() -> None:
        prediction, maps = backbone.predict(latents, conditions, timesteps, roles)
        loss = (prediction - latents).square().mean()
        if roles is not None:
            families = by_family(maps, grid)
            decoders = {
                family: MapDecoder(time_factor=grid.time_factor, blocks=len(blocks), pixels=grid.pixels).to(device)
                for family, blocks in families.items()
            }
            present: dict[Family, Tensor] = {"sga": roles.text.present, "spa": roles.video.present}
            loss = loss + alignment_loss(families, decoders, masks, present, LossWeights(), stride).total
        torch.autograd.backward(loss)

    return run
