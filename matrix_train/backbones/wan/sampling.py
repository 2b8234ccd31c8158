"""A video by a model that is being trained: everything but the transformer comes ready made."""

from typing import Any

from PIL import Image
from torch import Tensor

from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.scene import Scene
from matrix_train.backbones.wan.pipeline import WanMatrixPipeline

_pipeline_class: Any = WanMatrixPipeline


def denoise(model: Any, encoders: Encoders, scene: Scene, expand_timesteps: bool) -> Tensor:
    """Scaled latents [1, F, C, h, w]."""
    pipeline = _pipeline_class(
        # Embeddings are given, and with a cache there is no text encoder.
        tokenizer=encoders.tokenizer, text_encoder=None, vae=encoders.vae, transformer=model,
        scheduler=type(encoders.scheduler).from_config(encoders.scheduler.config), expand_timesteps=expand_timesteps,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    # The call takes image embeddings only without an image.
    pipeline.encode_image = lambda image, device: scene.conditions["vision"]  # noqa: ARG005
    latents: Tensor = pipeline(
        image=Image.fromarray(scene.image), id_map=Image.fromarray(scene.id_map),
        prompt_embeds=scene.conditions["prompt"], negative_prompt_embeds=scene.empty,
        height=scene.image.shape[0], width=scene.image.shape[1], num_frames=scene.frames,
        num_inference_steps=scene.steps, guidance_scale=scene.guidance, generator=scene.generator,
        output_type="latent",
    ).frames  # fmt: skip
    return latents.transpose(1, 2)
