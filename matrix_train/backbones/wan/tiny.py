"""Wan pipelines of the real classes with tiny random weights, for machines without any."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanImageToVideoPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from matrix_train.backbones.tiny import PIPELINE, TEXT_WIDTH, VOCABULARY, make_tokenizer, making

# diffusers is typed in part only.
_vae_class: Any = AutoencoderKLWan
_transformer_class: Any = WanTransformer3DModel
_text_class: Any = UMT5EncoderModel
_scheduler_class: Any = UniPCMultistepScheduler
_pipeline_class: Any = WanImageToVideoPipeline

SURE = -10.0
"""Log-variance of latents: a trained VAE is nearly sure of them; a random one would drown them in posterior noise."""


def save_tiny(
    folder: Path,
    captions: Iterable[str],
    seed: int,
    *,
    vae: dict[str, Any],
    transformer: dict[str, Any],
    more: dict[str, Any],
    **options: Any,
) -> None:
    """Saves a pipeline to `folder`, which appears whole or not at all. vae, transformer: what its kind has otherwise
    than others. more: further parts. options: of the pipeline."""
    with making(folder, seed) as scratch:
        pipeline = _pipeline_class(
            tokenizer=make_tokenizer(scratch, captions), text_encoder=_text_encoder(), vae=_vae(**vae),
            transformer=_transformer(**transformer), scheduler=_scheduler(), **more, **options,
        )  # fmt: skip
        pipeline.save_pretrained(scratch / PIPELINE)


def _text_encoder() -> Any:
    config = UMT5Config(
        vocab_size=2 * VOCABULARY, d_model=TEXT_WIDTH, d_kv=16, d_ff=96, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )  # fmt: skip
    return _text_class(config).eval()


def _vae(z_dim: int, **changes: Any) -> Any:
    plain = {"latents_mean": [0.0] * z_dim, "latents_std": [1.0] * z_dim}
    vae = _vae_class(base_dim=8, z_dim=z_dim, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **plain, **changes).eval()
    with torch.no_grad():
        vae.quant_conv.weight[z_dim:].zero_()
        vae.quant_conv.bias[z_dim:].fill_(SURE)
        # Diffusion wants latents of about unit size; a trained VAE's statistics see to it, this one's must too.
        latents = vae.encode(torch.rand(1, 3, 1, 64, 64) * 2 - 1).latent_dist.mode()
    spread = [max(float(latents.std()), 1e-6)] * z_dim
    vae.register_to_config(latents_std=spread)
    return vae


def _transformer(**changes: Any) -> Any:
    return _transformer_class(
        num_attention_heads=2, attention_head_dim=64, text_dim=TEXT_WIDTH, freq_dim=32, ffn_dim=256, num_layers=4,
        **changes,
    ).eval()  # fmt: skip


def _scheduler() -> Any:
    """As released."""
    return _scheduler_class(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
