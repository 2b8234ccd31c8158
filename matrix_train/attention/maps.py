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
MapScale = Literal["heads", "joint"]

CHUNK_ELEMENTS = 2**23
"""Most attention weights formed at once in softmax mode (32 MB in float32); N²/16 where that is less."""


@dataclass(frozen=True)
class Layout:
    """Where text and video lie among an attention's queries and among its keys; None where they are not."""

    text_queries: slice | None
    video_queries: slice
    text_keys: slice | None
    video_keys: slice | None

    @classmethod
    def joint(cls, text: int, video: int) -> "Layout":
        """One softmax over both, text first."""
        first, second = slice(0, text), slice(text, text + video)
        return cls(first, second, first, second)

    @classmethod
    def alone(cls, video: int) -> "Layout":
        """Video among itself."""
        return cls(None, slice(0, video), None, slice(0, video))

    @classmethod
    def cross(cls, text: int, video: int) -> "Layout":
        """Video asks text."""
        return cls(None, slice(0, video), slice(0, text), None)

    def covers(self, queries: int, keys: int) -> bool:
        """Whether queries and keys are as many as the stretches say."""
        ends = (self.text_queries, self.video_queries), (self.text_keys, self.video_keys)
        return tuple(max(s.stop for s in side if s is not None) for side in ends) == (queries, keys)


@dataclass(frozen=True)
class Taps:
    """What to read from one attention layer. `kernel` says how softmax v2t gets its rows' normaliser; `scale` is of the
    other modes: products of a head, or over the joint width as the released code has them."""

    roles: RoleWeights
    directions: tuple[Direction, ...]
    mode: Mode = "logits"
    kernel: Kernel = "auto"
    scale: MapScale = "heads"
    layout: Layout | None = None
    """None: joint attention, text first."""
    words: Tensor | None = None
    """Text tokens that are no padding, bool [B, L]; None: all. Attention takes the others too, as the model does; the
    reference of `centred` does not, or in an attention over text alone it would be the padding's."""

    @property
    def stretches(self) -> Layout:
        return self.layout or Layout.joint(self.roles.text_length, self.roles.video_length)


def attend(q: Tensor, k: Tensor, v: Tensor, taps: Taps | None) -> tuple[Tensor, dict[Direction, Tensor]]:
    """Attention output and role maps.

    q: [B, H, N, d], k and v: [B, H, M, d] as attention sees them (after qk-norm and RoPE), N = M in joint attention.
    Returns `out` [B, H, N, d] and one map [B, R, N_video] per direction, float32 (float64 for float64 inputs); zero for
    an absent role. ValueError where the roles were made for another sequence length, or a direction's text or video is
    not in this attention.
    """
    if taps is None:
        return F.scaled_dot_product_attention(q, k, v), {}
    if not taps.stretches.covers(q.shape[2], k.shape[2]):
        covered = f"{taps.roles.text_length} + {taps.roles.video_length}"
        raise ValueError(f"roles cover {covered} tokens, there are {q.shape[2]} queries and {k.shape[2]} keys")
    device = q.device.type
    if not torch.amp.is_autocast_available(device):
        return _tapped(q, k, v, taps)
    if torch.is_autocast_enabled(device):
        # What autocast does to scaled_dot_product_attention; the maps must see the same q and k.
        q, k, v = (x.to(torch.get_autocast_dtype(device)) for x in (q, k, v))
    with torch.autocast(device, enabled=False):
        return _tapped(q, k, v, taps)


def _tapped(q: Tensor, k: Tensor, v: Tensor, taps: Taps) -> tuple[Tensor, dict[Direction, Tensor]]:
    at, text, video = taps.stretches, taps.roles.text, taps.roles.video
    maps: dict[Direction, Tensor] = {}
    if taps.mode == "softmax" and "v2t" in taps.directions:
        rows = _placed(text, at.text_keys)
        if taps.kernel == "columns" or (taps.kernel == "auto" and not has_lse(q)):
            out, maps["v2t"] = _attention_with_columns(q, k, v, rows)
        else:
            out, lse = attention_with_lse(q, k, v)
            maps["v2t"] = _column_map(q, k, lse, rows)
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    for direction in taps.directions:
        if direction == "v2t":
            over, pooled, rows = q, k, _placed(text, at.text_keys)
        else:
            from_text = direction == "t2v"
            over, pooled = k, q
            rows = _placed(text, at.text_queries) if from_text else _placed(video, at.video_queries)
        if taps.mode != "softmax":
            products = _logit_map(over, pooled, rows, k if taps.mode == "centred" else None, key_shares(taps))
            # q·k/√(H·d) over the joint width, H heads of d.
            maps[direction] = products * q.shape[1] ** 0.5 if taps.scale == "joint" else products
        elif direction != "v2t":
            maps[direction] = _row_map(q, k, rows)
    seen = {direction: at.video_queries if direction == "v2t" else at.video_keys for direction in taps.directions}
    return out, {direction: maps[direction][..., there(stretch)] for direction, stretch in seen.items()}


def _placed(rows: Rows, stretch: slice | None) -> Rows:
    """Rows counted within a stretch, as places among all queries or keys."""
    start = there(stretch).start
    return Rows(rows.index + start, rows.weight) if start else rows


def key_shares(taps: Taps) -> Tensor | None:
    """Share of each key in the reference of `centred`, [B, M], where it is not the same for all."""
    at = taps.stretches.text_keys
    if taps.words is None or at is None:
        return None
    video = taps.stretches.video_keys
    counted = taps.words.new_ones(len(taps.words), max(s.stop for s in (at, video) if s is not None))
    counted[:, at] = taps.words
    return counted / counted.sum(dim=1, keepdim=True)


def there(stretch: slice | None) -> slice:
    """ValueError where it is not."""
    if stretch is None:
        raise ValueError("this attention does not hold the text or video that a map of it is over")
    return stretch


def _logit_map(over: Tensor, pooled: Tensor, rows: Rows, keys: Tensor | None, counted: Tensor | None) -> Tensor:
    """Mean over heads and rows of the scaled products: [B, R, N] over the tokens of `over`.

    keys: the one of `over` and `pooled` that holds the keys, for products less their row's mean over all keys, or over
    those that are counted, by their shares [B, M].
    """
    heads, d = over.shape[1], over.shape[-1]
    wide = _wide(over.dtype)
    mean = rows.weight[:, None].to(wide) @ _take(pooled, rows.index).to(wide)
    if keys is pooled:
        # The reference is taken off before rounding. An absent role has none, and stays exactly zero.
        mean = mean - rows.present[:, None, :, None] * _mean_key(keys, counted, wide)
    # Tensor cores take rows by eights; three would leave them to kernels without. The rows added are zero.
    roles = mean.shape[2]
    spare = -roles % 8 if over.dtype in (torch.bfloat16, torch.float16) else 0
    products = torch.matmul(F.pad(mean.to(over.dtype), (0, 0, 0, spare)), over.transpose(2, 3))[:, :, :roles].to(wide)
    if keys is over:
        products = products - torch.matmul(mean, _mean_key(keys, counted, wide).transpose(2, 3))
    return products.sum(dim=1).div(heads * d**0.5)


def _mean_key(keys: Tensor, counted: Tensor | None, wide: torch.dtype) -> Tensor:
    """[B, H, 1, d]."""
    if counted is None:
        return keys.mean(dim=2, keepdim=True, dtype=wide)
    return counted[:, None, None].to(wide) @ keys.to(wide)


def _row_map(q: Tensor, k: Tensor, rows: Rows) -> Tensor:
    """Mean over heads and rows of the softmax of these rows against all keys: [B, R, N] over the keys."""
    batch, heads, queries, d = q.shape
    n = k.shape[2]
    room = min(CHUNK_ELEMENTS, queries * n // 16) // (batch * n)
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
    head_step = max(1, min(CHUNK_ELEMENTS, n * k.shape[2] // 16) // (batch * n * max(columns, d)))

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
    batch, heads, _, d = q.shape
    roles = rows.weight.shape[1]
    pad = -(-roles // 8) * 8
    columns = F.pad(rows.dense(k.shape[2]).transpose(1, 2), (0, pad - roles)).to(v.dtype)
    wide_v = torch.cat([v, columns[:, None].expand(batch, heads, k.shape[2], pad)], dim=-1)
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
