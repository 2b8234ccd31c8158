"""Fused attention that also gives its log-sum-exp, with the gradient of both.

The stock fused kernels return `lse_i = log Σ_j exp(s_ij)` (s: scaled products), but PyTorch declares it
non-differentiable. The gradient is cheap all the same. With P = exp(s − lse), dP = dO Vᵀ and g = dL/dlse,

    ds = P ∘ (dP − δ) + P ∘ g = P ∘ (dP − (δ − g)),    δ = rowsum(dO ∘ O).

The kernels form δ themselves from O and dO. So the backward pass pads q, k, v with zero channels, which change neither
s nor dP, and writes −1 into a padded channel of O and g into the same channel of dO: the kernel's δ becomes δ − g, and
dQ, dK, dV are exact once the padding is cut off (`docs/training/attention_maps.md`).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten

PAD = 8
"""Channels added in the backward pass. The CUDA kernels want head dimensions that are multiples of 8."""

BACKWARD_CHUNK_ELEMENTS = 2**24
"""Elements of one padded operand in the backward pass; heads are taken in groups of this size (32 MB in bf16)."""


def has_lse(q: Tensor) -> bool:
    """Whether a fused kernel with lse serves this tensor's device, dtype and head dimension. q: [B, H, N, d]."""
    if q.device.type in ("cpu", "meta"):
        return True
    fits = q.dtype in (torch.bfloat16, torch.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] + PAD <= 256
    return q.device.type == "cuda" and fits and torch.backends.cuda.is_flash_attention_available()


def attention_with_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q kᵀ/√d) v and its row-wise log-sum-exp, both differentiable.

    q, k, v: [B, H, N, d]. Returns out [B, H, N, d] in q's dtype and lse [B, H, N] in float32 (float64 for float64).
    The forward pass is the stock kernel on the tensors as they are, so `out` is what
    `F.scaled_dot_product_attention` gives when it picks the same kernel.
    """
    out, lse = _AttentionWithLse.apply(q, k, v)
    return out, lse


class _AttentionWithLse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        ctx.scale = q.shape[-1] ** -0.5
        if q.device.type == "cuda":
            out, lse, _, _, ctx.max_q, ctx.max_k, seed, offset, _ = aten._scaled_dot_product_flash_attention(
                q, k, v, 0.0, False, return_debug_mask=False, scale=ctx.scale
            )
            ctx.save_for_backward(q, k, v, out, lse, seed, offset)
        else:
            out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, scale=ctx.scale)
            ctx.save_for_backward(q, k, v, out, lse)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_lse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out, lse, *rng = ctx.saved_tensors
        batch, heads, n, d = q.shape
        # In bf16 one channel would round g to 8 bits. Two channels hold its leading and its remaining part.
        g = d_lse.to(d_out.dtype)
        rest = (d_lse - g).to(d_out.dtype)
        grads = (torch.empty_like(q), torch.empty_like(k), torch.empty_like(v))
        step = max(1, BACKWARD_CHUNK_ELEMENTS // (batch * n * (d + PAD)))
        for start in range(0, heads, step):
            group = slice(start, start + step)
            padded = [_pad(x[:, group]) for x in (d_out, q, k, v, out)]
            padded[0][..., d] = g[:, group]
            padded[0][..., d + 1] = rest[:, group]
            padded[4][..., d : d + 2] = -1.0
            if rng:
                parts = aten._scaled_dot_product_flash_attention_backward(
                    *padded, lse[:, group].contiguous(), None, None, ctx.max_q, ctx.max_k, 0.0, False, *rng,
                    scale=ctx.scale,
                )  # fmt: skip
            else:
                parts = aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    *padded, lse[:, group], 0.0, False, scale=ctx.scale
                )
            for grad, part in zip(grads, parts, strict=True):
                grad[:, group] = part[..., :d]
        return grads


def _pad(x: Tensor) -> Tensor:
    """[B, h, N, d] → [B, h, N, d + PAD] with zeros behind, laid out afresh."""
    out = x.new_zeros(*x.shape[:-1], x.shape[-1] + PAD)
    out[..., : x.shape[-1]] = x
    return out
