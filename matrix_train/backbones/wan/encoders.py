"""The frozen half of Wan: causal VAE, umT5, and flow matching's timesteps."""

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
from torch import Tensor
from transformers import T5Tokenizer, UMT5Config

from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.objective import shifted

UMT5_XXL = UMT5Config(
    vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
)
"""The text encoder of every Wan."""


class WanEncoders(Encoders):
    """Latents are standardised channel by channel. The first frame gets no noise."""

    vae_class = AutoencoderKLWan
    tokenizer_class = T5Tokenizer
    scheduler_classes = (UniPCMultistepScheduler,)
    prediction_type = "flow_prediction"
    image_noise = False

    @torch.no_grad()
    def prompt(self, input_ids: Tensor) -> Tensor:
        """Padding is masked for the text encoder, and zero in what comes out, as diffusers' pipeline has it."""
        reader = self.readers["text_encoder"]
        words: Tensor = input_ids != reader.config.pad_token_id
        # transformers looks into a mask, and on the meta device there is nothing to see; the work is the same.
        embeddings: Tensor = reader(input_ids, None if words.is_meta else words.long()).last_hidden_state
        masked: Tensor = embeddings * words[..., None]
        return masked

    def latent_scale(self) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(values, device=self.vae.device).view(-1, 1, 1)
            for values in (self.vae.config.latents_mean, self.vae.config.latents_std)
        )
        return 1.0 / std, mean

    def timesteps(self, drawn: Tensor) -> Tensor:
        """Shifted as sampling is: by what the pipeline's schedule says."""
        config = self.scheduler.config
        return shifted(drawn, config.flow_shift) * float(config.num_train_timesteps)
