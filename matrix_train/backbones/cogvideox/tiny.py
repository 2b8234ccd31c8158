"""A diffusers CogVideoX pipeline of the real classes with tiny random weights, for machines without any.

It learns nothing about video worth keeping; it shows that training runs, and what SGA and SPA do to attention. The
tokenizer is a SentencePiece model of the data set's own captions with T5's special tokens.
"""

import math
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, T5Tokenizer

from matrix_train.backbones.cogvideox.input_projection import LATENT_CHANNELS

VOCABULARY = 400
TEXT_WIDTH = 48

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name, torch.random.fork_rng():
        made = Path(name) / "pipeline"
        torch.manual_seed(seed)
        pipeline = _pipeline_class(
            tokenizer=_tokenizer(Path(name), captions),
            text_encoder=_text_encoder(),
            vae=_vae(height, width),
            transformer=_transformer(frames, height, width, max_tokens),
            scheduler=_scheduler(),
        )
        pipeline.save_pretrained(made)
        # Rename is atomic; a folder made meanwhile by another process of the same run is as good.
        if not folder.exists():
            shutil.move(made, folder)


def _tokenizer(scratch: Path, captions: Iterable[str]) -> PreTrainedTokenizerFast:
    sentences = sorted(set(captions))
    # SentencePiece takes as candidates what two different words share. A word with two endings is one: whole words are
    # tokens then, as common words are to T5, and a role's mean is not over scraps that every phrase has.
    words = {word for sentence in sentences for word in re.findall(r"\w+", sentence)}
    endings = [f"{word}, {word}." for word in sorted(words)]
    # Characters last: every caption can be spelled, and small data sets reach the vocabulary's minimum.
    letters = " ".join(chr(code) for code in range(33, 127))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sentences, *endings, letters]), model_prefix=str(scratch / "spiece"),
        vocab_size=VOCABULARY, hard_vocab_limit=False, model_type="unigram", normalization_rule_name="nmt_nfkc",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0, num_threads=1, minloglevel=2,
    )  # fmt: skip
    tokenizer: PreTrainedTokenizerFast = T5Tokenizer.from_pretrained(scratch)
    return tokenizer


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


def _scheduler() -> Any:
    """As released with CogVideoX-5B-I2V."""
    return _scheduler_class(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing", set_alpha_to_one=True,
        clip_sample=False,
    )  # fmt: skip
