"""Tiny pipelines of real components with random weights: transformer, 3D VAE, text encoder and its tokenizer."""

from functools import cache
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLWan,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from matrix_train.backbones.wan22.encoders import VAE
from tests.matrix_train.backbones.models import stock

WORDS = ["a", "man", "woman", "pushes", "lifts", "the", "red", "cart", "box", "up", "left", "to"]
FRAMES, HEIGHT, WIDTH = 9, 64, 96


def stock_pipeline(flavour: str = "5b-i2v") -> Any:
    """Made afresh, always with the same weights. Clips of FRAMES × HEIGHT × WIDTH."""
    model = stock(flavour)
    torch.manual_seed(1)
    if flavour.startswith("wan"):
        return _wan(model, flavour)
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


def _wan(model: Any, flavour: str) -> WanImageToVideoPipeline:
    text = UMT5Config(vocab_size=64, d_model=24, d_kv=12, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0)
    own = ("is_residual", "in_channels", "out_channels", "patch_size", "scale_factor_spatial")
    z_dim, more = (16, {}) if flavour == "wan21" else (48, {name: VAE[name] for name in own})
    statistics = {"latents_mean": [0.1 * i for i in range(z_dim)], "latents_std": [1 + 0.1 * i for i in range(z_dim)]}
    vae = AutoencoderKLWan(base_dim=4, z_dim=z_dim, dim_mult=[1, 1, 1, 1], num_res_blocks=1, **statistics, **more)
    parts: dict[str, Any] = {"expand_timesteps": flavour == "wan22"}
    if flavour == "wan21":
        vision = CLIPVisionConfig(
            hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=14,
            image_size=224,
        )  # fmt: skip
        parts |= {"image_encoder": CLIPVisionModel(vision).eval(), "image_processor": CLIPImageProcessor()}
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    pipe = WanImageToVideoPipeline(
        tokenizer=tokenizer(512), text_encoder=UMT5EncoderModel(text).eval(), vae=vae.eval(), transformer=model,
        scheduler=scheduler, **parts,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def tokenizer(length: int = 12) -> PreTrainedTokenizerFast:
    """One token a word, T5's special tokens."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=length
    )
