"""The video model: CogVideoX's transformer and schedule, a linear patch code for its VAE, a word embedding for its T5.

A backbone of another package (docs/extending.md): only the classes of VAE and transformer are its own, the latter by
its name alone, by which a pipeline on disk is known.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_1d_sincos_pos_embed_from_grid
from transformers import T5Config, T5EncoderModel

from benchmarks.miniature.codec import PatchCode
from matrix_train.backbones import CogVideoX, Encoders, register
from matrix_train.backbones.cogvideox.encoders import CogVideoXEncoders
from matrix_train.backbones.cogvideox.pipeline import INPUT_CHANNELS, LATENT_CHANNELS
from matrix_train.backbones.cogvideox.tiny import noise_schedule
from matrix_train.backbones.scene import Clip
from matrix_train.backbones.tiny import PIPELINE, VOCABULARY, make_tokenizer, making

_transformer_class: Any = CogVideoXTransformer3DModel  # diffusers is typed in part only
_positions: Any = get_1d_sincos_pos_embed_from_grid

WORDS = 96
"""Width of a word's embedding: more than there are words, so that they can be told apart by one linear layer."""


class MiniatureTransformer(_transformer_class):  # type: ignore[misc]
    """diffusers' class under another name."""


class MiniatureEncoders(CogVideoXEncoders):
    vae_class = PatchCode


@register
class Miniature(CogVideoX):
    name: ClassVar[str] = "miniature"
    model_class: ClassVar[Any] = MiniatureTransformer
    encoders: ClassVar[type[Encoders]] = MiniatureEncoders


def make_pipeline(
    folder: Path, code: PatchCode, captions: Iterable[str], clip: Clip, heads: int, blocks: int, max_tokens: int,
    seed: int,
) -> None:  # fmt: skip
    """Saves a pipeline of random weights with this code, which appears whole or not at all. It reads an ID map."""
    frames, height, width = clip
    with making(folder, seed) as scratch:
        model = MiniatureTransformer(
            num_attention_heads=heads, attention_head_dim=64, num_layers=blocks, in_channels=INPUT_CHANNELS,
            out_channels=LATENT_CHANNELS, time_embed_dim=128, text_embed_dim=WORDS, max_text_seq_length=max_tokens,
            sample_frames=frames, sample_height=height // 8, sample_width=width // 8,
            use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True,
        )  # fmt: skip
        # RoPE turns video alone, and a T5 would tell the transformer in which order the words stand. This embedding
        # does not, so the places of the words go where the released model keeps the positions that it has learned.
        places = _positions(heads * 64, torch.arange(max_tokens), output_type="pt")
        model.patch_embed.pos_embedding[0, :max_tokens] = places.float()
        # No layer but the embedding and its norm.
        text = T5EncoderModel(T5Config(vocab_size=2 * VOCABULARY, d_model=WORDS, d_kv=16, d_ff=96, num_layers=0))
        whole = scratch / PIPELINE
        make_tokenizer(scratch, captions).save_pretrained(whole / "tokenizer")
        for part, kept in (("transformer", model), ("text_encoder", text), ("vae", code)):
            kept.save_pretrained(whole / part)
        noise_schedule().save_pretrained(whole / "scheduler")
