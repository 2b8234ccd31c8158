"""The yardstick: role maps read from attention matrices that are really formed, N × N for every head of a tapped block.

Used by `matrix_train bench` and by tests, never by training. This is paper §4 taken at its word: the whole matrix (of
scaled products in mode `logits`, less each row's mean in mode `centred`, of softmax weights in mode `softmax`), then
the mean over heads and over a role's rows. All heads of three blocks at once are 364 GB in float32 at 5B geometry, so
heads are taken one at a time and formed again in the backward pass; the products of a head are done as plainly as they
are written here.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from matrix_train.attention.maps import Direction, Layout, Mode, Taps, key_shares, there


def dense_attend(q: Tensor, k: Tensor, v: Tensor, taps: Taps | None) -> tuple[Tensor, dict[Direction, Tensor]]:
    """`matrix_train.attention.maps.attend` the plain way. q, k, v: [B, H, N, d]; maps [B, R, N_video] in q's dtype."""
    if taps is None:
        return F.scaled_dot_product_attention(q, k, v), {}
    text = taps.roles.text.dense(taps.roles.text_length).to(q.dtype)
    video = taps.roles.video.dense(taps.roles.video_length).to(q.dtype)
    outs: list[Tensor] = []
    totals: dict[Direction, Tensor] = {}
    for head in zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True):
        out, *maps = checkpoint(
            _one_head, *head, text, video, taps.directions, taps.mode, taps.stretches, key_shares(taps),
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
        outs.append(out)
        for direction, values in zip(taps.directions, maps, strict=True):
            totals[direction] = totals.get(direction, 0.0) + values / q.shape[1]
    # The logits do not serve the output: that stays the fused kernel's, as in the released code.
    attended = torch.stack(outs, dim=1) if taps.mode == "softmax" else F.scaled_dot_product_attention(q, k, v)
    return attended, totals


def _one_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    text: Tensor,
    video: Tensor,
    directions: tuple[Direction, ...],
    mode: Mode,
    at: Layout,
    shares: Tensor | None,
) -> tuple[Tensor, ...]:
    """One head's output [B, N, d] (empty but in mode `softmax`) and its map [B, R, N_video] for each direction."""
    matrix = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
    if mode == "softmax":
        matrix = matrix.softmax(dim=-1)
    elif mode == "centred":
        means = matrix.mean(dim=-1, keepdim=True) if shares is None else matrix @ shares[..., None].to(matrix.dtype)
        matrix = matrix - means
    found: list[Tensor] = [matrix @ v if mode == "softmax" else v.new_empty(0)]
    for direction in directions:
        if direction == "v2t":
            found.append(text @ matrix[:, there(at.video_queries), there(at.text_keys)].transpose(1, 2))
        elif direction == "v2v":
            found.append(video @ matrix[:, there(at.video_queries), there(at.video_keys)])
        else:
            found.append(text @ matrix[:, there(at.text_queries), there(at.video_keys)])
    return tuple(found)
