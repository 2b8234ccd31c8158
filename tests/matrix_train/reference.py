"""What the tests measure against: dense attention in float64 and a tiny CogVideoX."""

from typing import Any

import torch
from torch import Tensor

from matrix_train.attention.maps import Layout
from matrix_train.attention.roles import RoleWeights
from matrix_train.bench.tensors import LargestTensor

__all__ = [
    "FLAVOURS",
    "TINY",
    "VARIANTS",
    "LargestTensor",
    "dense_attend",
    "make_roles",
    "relative_error",
    "two_samples",
]

VARIANTS = [
    ("logits", "v2t", "auto"),
    ("logits", "v2v", "auto"),
    ("logits", "t2v", "auto"),
    ("centred", "v2t", "auto"),
    ("centred", "v2v", "auto"),
    ("centred", "t2v", "auto"),
    ("softmax", "v2t", "lse"),
    ("softmax", "v2t", "columns"),
    ("softmax", "v2v", "auto"),
    ("softmax", "t2v", "auto"),
]


def dense_attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    text: Tensor,
    video: Tensor,
    direction: str,
    mode: str,
    at: Layout | None = None,
    words: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Output and map by the definitions of paper §4, with the whole matrix. text: [B, R, L], video: [B, R, V]. words:
    the first so many keys are those that a centred map's reference is the mean of."""
    at = at or Layout.joint(text.shape[-1], video.shape[-1])
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    centred = scores - scores[..., :words].mean(dim=-1, keepdim=True)
    matrix = {"logits": scores, "centred": centred, "softmax": weights}[mode].mean(dim=1)
    if direction == "v2t":
        maps = torch.einsum("bit,brt->bri", matrix[:, at.video_queries, at.text_keys], text.to(q.dtype))
    elif direction == "v2v":
        maps = torch.einsum("bqj,brq->brj", matrix[:, at.video_queries, at.video_keys], video.to(q.dtype))
    else:
        maps = torch.einsum("btj,brt->brj", matrix[:, at.text_queries, at.video_keys], text.to(q.dtype))
    return weights @ v, maps


def two_samples(length: int, cells: int) -> tuple[Tensor, Tensor]:
    """Weights of three roles for two samples with different token sets and query cells; sample 1 has no verb and no
    object cells. Returns text [2, 3, length] and video [2, 3, cells]."""
    text, video = torch.zeros(2, 3, length), torch.zeros(2, 3, cells)
    text[0, 0, [1, 2]] = 1 / 2
    text[0, 1, 4] = 1.0
    text[0, 2, [6, 7, 8]] = 1 / 3
    text[1, 0, 0] = 1.0
    text[1, 2, [0, 9]] = 1 / 2
    video[0, 0, :10] = 1 / 10
    video[0, 1, 5:25] = 1 / 20
    video[0, 2, 20:25] = 1 / 5
    video[1, 0, [0, 3]] = 1 / 2
    return text, video


def relative_error(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm())


TINY: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 32,
    "out_channels": 16,
    "time_embed_dim": 16,
    "text_embed_dim": 24,
    "num_layers": 3,
    "sample_width": 12,
    "sample_height": 8,
    "sample_frames": 9,
    "max_text_seq_length": 12,
}
"""Image-to-video, 3 latent frames of 4 × 6 tokens, 12 text tokens."""

FLAVOURS: dict[str, dict[str, Any]] = {
    "2b": {"in_channels": 16},
    "5b": {"use_rotary_positional_embeddings": True},
    "5b-i2v": {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True},
    "1.5-i2v": {
        "use_rotary_positional_embeddings": True,
        "patch_size_t": 2,
        "patch_bias": False,
        "ofs_embed_dim": 16,
        "sample_frames": 13,
    },
}
"""What tells the released checkpoints apart, on top of TINY. 1.5 here: 4 latent frames, 2 token frames."""


def make_roles(length: int, cells: int) -> RoleWeights:
    return RoleWeights.build(*two_samples(length, cells))
