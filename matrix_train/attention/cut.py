"""Attention with some of its entries zeroed after the softmax, the rest as it was (paper App. E).

    out = cut_words(q, k, v, layout, Words(tokens, cells))      # CMG: v2t entries of a role's tokens on its region
    out = cut_frames(q, k, v, layout, frames)                   # CAG: v2v entries between different frames

Nothing is normalised again, so what remains of a row still is `exp(s − lse)` with the log-sum-exp of the whole row,
which the fused kernel gives. CMG takes its few entries off the fused output. CAG keeps less than it cuts: what is left
of a row is a fused attention over its own frame (and the text, where that is asked in the same softmax), scaled by
`exp(lse of what is left − lse of all)`. So neither forms a matrix of N² elements, and CAG costs 1/frames of attention
beside the whole one. No gradients: guidance is for sampling.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from matrix_train.attention.lse import attention_with_lse
from matrix_train.attention.maps import Layout, there

CHUNK_ELEMENTS = 2**23
"""Most attention weights formed at once (32 MB in float32)."""


@dataclass(frozen=True)
class Words:
    """Which v2t entries CMG zeroes: those of `tokens` at the cells of their roles' regions."""

    tokens: Tensor
    """int64 [T], places in the prompt, each once."""
    cells: Tensor
    """bool [T, cells] of the latent grid: where the token's entries are zeroed."""

    @classmethod
    def of(cls, roles: list[tuple[tuple[int, ...], Tensor]]) -> "Words":
        """From each role's tokens and region, bool [cells]. A token of several roles is cut on all their regions."""
        where: dict[int, Tensor] = {}
        for tokens, region in roles:
            for token in tokens:
                where[token] = where[token] | region if token in where else region
        order = sorted(where)
        return cls(torch.tensor(order), torch.stack([where[token] for token in order]))

    def to(self, device: torch.device) -> "Words":
        return Words(self.tokens.to(device), self.cells.to(device))


@torch.no_grad()
def cut_words(q: Tensor, k: Tensor, v: Tensor, layout: Layout, words: Words) -> Tensor:
    """Attention output [B, H, N, d] without the entries of `words`. q, k, v: [B, H, N or M, d], N and M as `layout`."""
    out, lse = attention_with_lse(q, k, v)
    batch, heads, _, d = q.shape
    rows = words.cells.any(dim=0).nonzero().flatten()
    zeroed = words.cells[:, rows].T
    queries, keys = there(layout.video_queries).start + rows, there(layout.text_keys).start + words.tokens
    step = max(1, CHUNK_ELEMENTS // max(1, batch * len(rows) * len(keys)))
    for start in range(0, heads, step):
        some = slice(start, start + step)
        asked, read, said = q[:, some, queries], k[:, some, keys], v[:, some, keys]
        products = (asked.to(lse.dtype) * d**-0.5) @ read.to(lse.dtype).transpose(2, 3)
        weights = (products - lse[:, some, queries, None]).exp() * zeroed
        out[:, some, queries] = (out[:, some, queries] - weights @ said.to(lse.dtype)).to(out.dtype)
    return out


@torch.no_grad()
def cut_frames(q: Tensor, k: Tensor, v: Tensor, layout: Layout, frames: int) -> Tensor:
    """Attention output [B, H, N, d] where a video cell sees no video of another frame. The video is `frames` equal
    runs of tokens."""
    out, lse = attention_with_lse(q, k, v)
    asking, holding = there(layout.video_queries), there(layout.video_keys)
    alone, lse_alone = attention_with_lse(
        _by_frame(q[:, :, asking], frames),
        _with_text(k, layout, holding, frames),
        _with_text(v, layout, holding, frames),
    )
    batch, heads, _, d = q.shape
    kept = (lse_alone.view(batch, frames, heads, -1).transpose(1, 2).flatten(2) - lse[:, :, asking]).exp()
    whole = alone.view(batch, frames, heads, -1, d).transpose(1, 2).flatten(2, 3)
    out[:, :, asking] = (whole * kept[..., None]).to(out.dtype)
    return out


def _by_frame(x: Tensor, frames: int) -> Tensor:
    """[B, H, F · c, d] → [B · F, H, c, d]."""
    batch, heads, _, d = x.shape
    return x.reshape(batch, heads, frames, -1, d).transpose(1, 2).flatten(0, 1)


def _with_text(x: Tensor, layout: Layout, holding: slice, frames: int) -> Tensor:
    """Keys or values of each frame, after those of the text where this attention holds them: [B · F, H, L + c, d]."""
    video = _by_frame(x[:, :, holding], frames)
    if layout.text_keys is None:
        return video
    text = x[:, :, layout.text_keys]
    return torch.cat([text[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1), video], dim=2)
