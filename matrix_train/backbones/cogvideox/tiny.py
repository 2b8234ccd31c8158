"""A diffusers CogVideoX pipeline of the real classes with tiny random weights, for machines without any.

It learns nothing about video worth keeping; it shows that training runs, and what SGA and SPA do to attention.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from matrix_train.backbones.cogvideox.pipeline import LATENT_CHANNELS
from matrix_train.backbones.tiny import PIPELINE, TEXT_WIDTH, VOCABULARY, make_tokenizer, making

# diffusers is typed in part only.
_vae_class: Any = AutoencoderKLCogVideoX
_transformer_class: Any = CogVideoXTransformer3DModel
_text_class: Any = T5EncoderModel
_scheduler_class: Any = CogVideoXDPMScheduler
_pipeline_class: Any = CogVideoXImageToVideoPipeline


def make_tiny_pipeline(
    folder: Path, captions: Iterable[str], frames: int, height: int, width: int, max_tokens: int, seed: int = 0
) -> None:
    """Saves the pipeline to `folder`, which appears whole or not at all. frames, height, width: of a training clip."""
    with making(folder, seed) as scratch:
        pipeline = _pipeline_class(
            tokenizer=make_tokenizer(scratch, captions),
            text_encoder=_text_encoder(),
            vae=_vae(height, width),
            transformer=_transformer(frames, height, width, max_tokens),
            scheduler=noise_schedule(),
        )
        pipeline.save_pretrained(scratch / PIPELINE)


def _text_encoder() -> Any:
    config = T5Config(
        vocab_size=2 * VOCABULARY, d_model=TEXT_WIDTH, d_kv=16, d_ff=96, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )  # fmt: skip
    return _text_class(config).eval()


def _vae(height: int, width: int) -> Any:
    vae = _vae_class(
        block_out_channels=(8, 8, 8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=LATENT_CHANNELS,
        # Half of it is a tile of the decoder: a clip is one, for the tiles' overlaps come out uneven at such sizes.
        sample_height=2 * height, sample_width=2 * width, scaling_factor=1.0,
    ).eval()  # fmt: skip
    with torch.no_grad():
        # A trained VAE is nearly sure of its latents; a random one would drown them in posterior noise.
        head = vae.encoder.conv_out.conv
        head.weight[LATENT_CHANNELS:].zero_()
        head.bias[LATENT_CHANNELS:].fill_(-10.0)
        # Diffusion wants latents of about unit size; a trained VAE's scaling factor sees to it, this one's must too.
        latents = vae.encode(torch.rand(1, 3, 1, 64, 64) * 2 - 1).latent_dist.mode()
    vae.register_to_config(scaling_factor=1.0 / max(float(latents.std()), 1e-6))
    return vae


def _transformer(frames: int, height: int, width: int, max_tokens: int) -> Any:
    return _transformer_class(
        num_attention_heads=2, attention_head_dim=64, num_layers=4, in_channels=32, out_channels=16,
        time_embed_dim=32, text_embed_dim=TEXT_WIDTH, max_text_seq_length=max_tokens,
        sample_frames=frames, sample_height=math.ceil(height / 8), sample_width=math.ceil(width / 8),
        use_rotary_positional_embeddings=True,
    ).eval()  # fmt: skip


def noise_schedule() -> Any:
    """As released with CogVideoX-5B-I2V."""
    return _scheduler_class(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing", set_alpha_to_one=True,
        clip_sample=False,
    )  # fmt: skip
