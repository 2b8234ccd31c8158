"""Attention that also returns where each role's attention goes, without ever forming the N × N matrix (paper §4, §5).

    out, maps = attend(q, k, v, Taps(roles, directions=("v2t",), mode="logits"))

A map is the mean over heads and over a role's tokens (or query cells) of one stretch of the attention matrix:

| direction | rows (queries)      | columns (keys)      | map over | use                  |
|-----------|---------------------|---------------------|----------|----------------------|
| v2t       | every video cell    | the role's tokens   | rows     | grounding, SGA       |
| v2v       | the role's cells    | every video cell    | columns  | propagation, SPA     |
| t2v       | the role's tokens   | every video cell    | columns  | ablation of SGA      |

`logits` takes the scaled products themselves. They are linear in q and in k, so the mean moves inside: one
matrix–vector product per role. `centred` takes them less their row's mean over all keys: what a whole row shares moves
no attention, and then no map either. That is the logarithm of an attention weight over its row's geometric mean, at the
price of `logits`. `softmax` takes the attention weights. v2t needs the log-sum-exp of every row, with its gradient
(`attention.lse`), or where no kernel gives one, indicator columns beside V. v2v and t2v need only the role's own rows,
formed in chunks that the backward pass forms again.

`attend(q, k, v, None)` is `F.scaled_dot_product_attention(q, k, v)`. The maths is in `docs/training/attention_maps.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from matrix_train.attention.lse import attention_with_lse, has_lse
from matrix_train.attention.roles import RoleWeights, Rows

Direction = Literal["v2t", "v2v", "t2v"]
Mode = Literal["logits", "centred", "softmax"]
Kernel = Literal["auto", "lse", "columns"]

CHUNK_ELEMENTS = 2**23
"""Most attention weights formed at once in softmax mode (32 MB in float32); N²/16 where that is less."""


@dataclass(frozen=True)
class Taps:
    """What to read from one attention layer. `kernel` says how softmax v2t gets its rows' normaliser."""

    roles: RoleWeights
    directions: tuple[Direction, ...]
    mode: Mode = "logits"
    kernel: Kernel = "auto"


def attend(q: Tensor, k: Tensor, v: Tensor, taps: Taps | None) -> tuple[Tensor, dict[Direction, Tensor]]:
    """Attention output and role maps.

    q, k, v: [B, H, N, d] as attention sees them (after qk-norm and RoPE), text tokens first. Returns `out`
    [B, H, N, d] and one map [B, R, N_video] per direction, float32 (float64 for float64 inputs); zero for an absent
    role. ValueError where the roles were made for another sequence length.
    """
    if taps is None:
        return F.scaled_dot_product_attention(q, k, v), {}
    n, length = q.shape[2], taps.roles.text_length
    if n != length + taps.roles.video_length:
        raise ValueError(f"roles cover {length} + {taps.roles.video_length} tokens, the sequence has {n}")
    device = q.device.type
    if not torch.amp.is_autocast_available(device):
        return _tapped(q, k, v, taps)
    if torch.is_autocast_enabled(device):
        # What autocast does to scaled_dot_product_attention; the maps must see the same q and k.
        q, k, v = (x.to(torch.get_autocast_dtype(device)) for x in (q, k, v))
    with torch.autocast(device, enabled=False):
        return _tapped(q, k, v, taps)


def _tapped(q: Tensor, k: Tensor, v: Tensor, taps: Taps) -> tuple[Tensor, dict[Direction, Tensor]]:
    text = taps.roles.text
    video = Rows(taps.roles.video.index + taps.roles.text_length, taps.roles.video.weight)
    sides = {"v2t": (q, k, text), "v2v": (k, q, video), "t2v": (k, q, text)}
    maps: dict[Direction, Tensor] = {}
    if taps.mode == "softmax" and "v2t" in taps.directions:
        if taps.kernel == "columns" or (taps.kernel == "auto" and not has_lse(q)):
            out, maps["v2t"] = _attention_with_columns(q, k, v, text)
        else:
            out, lse = attention_with_lse(q, k, v)
            maps["v2t"] = _column_map(q, k, lse, text)
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    for direction in taps.directions:
        over, pooled, rows = sides[direction]
        if taps.mode != "softmax":
            maps[direction] = _logit_map(over, pooled, rows, k if taps.mode == "centred" else None)
        elif direction != "v2t":
            maps[direction] = _row_map(q, k, rows)
    return out, {direction: maps[direction][..., taps.roles.text_length :] for direction in taps.directions}


def _logit_map(over: Tensor, pooled: Tensor, rows: Rows, keys: Tensor | None) -> Tensor:
    """Mean over heads and rows of the scaled products: [B, R, N] over the tokens of `over`.

    keys: the one of `over` and `pooled` that holds the keys, for products less their row's mean over all keys.
    """
    heads, d = over.shape[1], over.shape[-1]
    wide = _wide(over.dtype)
    mean = rows.weight[:, None].to(wide) @ _take(pooled, rows.index).to(wide)
    if keys is pooled:
        # The reference is taken off before rounding. An absent role has none, and stays exactly zero.
        mean = mean - rows.present[:, None, :, None] * keys.mean(dim=2, keepdim=True, dtype=wide)
    products = torch.matmul(mean.to(over.dtype), over.transpose(2, 3)).to(wide)
    if keys is over:
        products = products - torch.matmul(mean, keys.mean(dim=2, keepdim=True, dtype=wide).transpose(2, 3))
    return products.sum(dim=1).div(heads * d**0.5)


def _row_map(q: Tensor, k: Tensor, rows: Rows) -> Tensor:
    """Mean over heads and rows of the softmax of these rows against all keys: [B, R, N] over the keys."""
    batch, heads, n, d = q.shape
    room = min(CHUNK_ELEMENTS, n * n // 16) // (batch * n)
    row_step = max(1, min(room, rows.index.shape[1]))
    head_step = max(1, room // row_step)

    def chunk(q_rows: Tensor, k: Tensor, weight: Tensor) -> Tensor:
        wide = _wide(q_rows.dtype)
        scores = (q_rows.to(wide) * d**-0.5) @ k.to(wide).transpose(2, 3)
        return torch.matmul(weight.to(wide), scores.softmax(dim=-1).sum(dim=1))

    total = torch.zeros(batch, rows.weight.shape[1], n, dtype=_wide(q.dtype), device=q.device)
    groups = zip(torch.split(_take(q, rows.index), head_step, dim=1), torch.split(k, head_step, dim=1), strict=True)
    for q_group, k_group in groups:
        parts = zip(torch.split(q_group, row_step, dim=2), torch.split(rows.weight, row_step, dim=2), strict=True)
        for q_rows, weight in parts:
            total = total + _recomputed(chunk, q_rows, k_group, weight)
    return total / heads


def _column_map(q: Tensor, k: Tensor, lse: Tensor, rows: Rows) -> Tensor:
    """Mean over heads and rows (here keys) of exp(q kᵀ/√d − lse): [B, R, N] over the queries."""
    batch, heads, n, d = q.shape
    columns = rows.index.shape[1]
    head_step = max(1, min(CHUNK_ELEMENTS, n * n // 16) // (batch * n * max(columns, d)))

    def chunk(q: Tensor, k_rows: Tensor, lse: Tensor, weight: Tensor) -> Tensor:
        wide = _wide(q.dtype)
        scores = (k_rows.to(wide) * d**-0.5) @ q.to(wide).transpose(2, 3)
        return torch.matmul(weight.to(wide), (scores - lse[:, :, None]).exp().sum(dim=1))

    total = torch.zeros(batch, rows.weight.shape[1], n, dtype=_wide(q.dtype), device=q.device)
    parts = zip(*(torch.split(x, head_step, dim=1) for x in (q, _take(k, rows.index), lse)), strict=True)
    for q_group, k_group, lse_group in parts:
        total = total + _recomputed(chunk, q_group, k_group, lse_group, rows.weight)
    return total / heads


def _attention_with_columns(q: Tensor, k: Tensor, v: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Attention output and the v2t map [B, R, N] with no lse: each role's weights ride along as one column of V.

    q and k get zero channels to match, which leave the scores as they are; autograd does the rest.
    """
    batch, heads, n, d = q.shape
    roles = rows.weight.shape[1]
    pad = -(-roles // 8) * 8
    columns = F.pad(rows.dense(n).transpose(1, 2), (0, pad - roles)).to(v.dtype)
    wide_v = torch.cat([v, columns[:, None].expand(batch, heads, n, pad)], dim=-1)
    out = F.scaled_dot_product_attention(F.pad(q, (0, pad)), F.pad(k, (0, pad)), wide_v, scale=d**-0.5)
    role_columns = out[..., d : d + roles].mean(dim=1, dtype=_wide(q.dtype))
    return out[..., :d], role_columns.transpose(1, 2)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """The rows x[b, h, index[b]]: [B, H, N, d] → [B, H, S, d]."""
    return x.take_along_dim(index[:, None, :, None], dim=2)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Half-precision products are too coarse under an exponential: maps are formed in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _recomputed(function: Callable[..., Tensor], *args: Tensor) -> Tensor:
    """Forms the chunk again in the backward pass instead of keeping it."""
    result: Tensor = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return result
