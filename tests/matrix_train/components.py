"""A tiny CogVideoX pipeline of real components with random weights: transformer, 3D VAE, T5 and its tokenizer."""

from functools import cache
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from tests.matrix_train.reference import FLAVOURS, TINY

WORDS = ["a", "man", "woman", "pushes", "lifts", "the", "red", "cart", "box", "up", "left", "to"]
FRAMES, HEIGHT, WIDTH = 9, 64, 96


def transformer(flavour: str = "5b-i2v", seed: int = 0, **changes: Any) -> CogVideoXTransformer3DModel:
    torch.manual_seed(seed)
    return CogVideoXTransformer3DModel(**{**TINY, **FLAVOURS[flavour], **changes}).eval()


def stock_pipeline(flavour: str = "5b-i2v") -> CogVideoXImageToVideoPipeline:
    """Made afresh, always with the same weights. Clips of FRAMES × HEIGHT × WIDTH."""
    model = transformer(flavour)
    torch.manual_seed(1)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2, latent_channels=16,
        sample_height=HEIGHT, sample_width=WIDTH, scaling_factor=0.7, invert_scale_latents=flavour == "1.5-i2v",
    ).eval()  # fmt: skip
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=64, d_model=24, d_kv=12, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0)
    ).eval()
    pipe = CogVideoXImageToVideoPipeline(
        tokenizer=tokenizer(), text_encoder=text_encoder, vae=vae, transformer=model, scheduler=CogVideoXDPMScheduler()
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, T5's special tokens."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=12
    )
