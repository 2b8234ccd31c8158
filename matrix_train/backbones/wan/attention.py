"""Wan's attention with a tap: diffusers' `WanAttnProcessor`, step by step, but for the attention itself.

Video attends to video (`attn1`, with RoPE) and to text (`attn2`, where the first frame's CLIP tokens, if the model has
them, are asked in an attention of their own and added). Padding is not masked, as Wan was trained.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from matrix_train.attention.maps import Layout
from matrix_train.backbones.collector import Attends

TEXT_TOKENS = 512
"""Of every prompt, padding included. diffusers cuts text from image tokens by this number."""


class TapProcessor:
    """q, k and v as attention sees them are [B, N, H, d] here, as in diffusers, and [B, H, N, d] for the tap."""

    def __init__(self, tap: Attends) -> None:
        self.tap = tap

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        if attention_mask is not None:
            raise ValueError("Wan attends without a mask; maps under a mask are not defined here")
        image, text = None, hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.add_k_proj is not None:
            image, text = text[:, :-TEXT_TOKENS], text[:, -TEXT_TOKENS:]
        q, k, v = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(text)), attn.to_v(text)
        q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in (q, k, v))
        if rotary_emb is not None:
            q, k = _turned(q, *rotary_emb), _turned(k, *rotary_emb)
        video = hidden_states.shape[1]
        alone = encoder_hidden_states is None
        layout = Layout.alone(video) if alone else Layout.cross(text.shape[1], video)
        out = self.tap.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), layout)
        joined = out.transpose(1, 2).flatten(2, 3).type_as(q)
        if image is not None:
            joined = joined + self._of_image(attn, q, image)
        done: Tensor = attn.to_out[1](attn.to_out[0](joined))
        return done

    @staticmethod
    def _of_image(attn: Any, q: Tensor, image: Tensor) -> Tensor:
        k, v = attn.norm_added_k(attn.add_k_proj(image)), attn.add_v_proj(image)
        k, v = (x.unflatten(2, (attn.heads, -1)) for x in (k, v))
        out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return out.transpose(1, 2).flatten(2, 3).type_as(q)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on pairs of neighbouring channels. x: [B, N, H, d]; cos and sin: [1, N, 1, d], each value twice."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    turned = torch.empty_like(x)
    turned[..., 0::2] = even * cos - odd * sin
    turned[..., 1::2] = even * sin + odd * cos
    return turned.type_as(x)
