"""A video by a model that is being trained: everything but the transformer comes ready made."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from matrix_train.backbones.cogvideox.pipeline import MatrixPipeline
from matrix_train.backbones.encoders import Encoders
from matrix_train.backbones.scene import Scene

_pipeline_class: Any = MatrixPipeline


def sample(model: Any, encoders: Encoders, scene: Scene) -> NDArray[np.float32]:
    """Frames [T, H, W, 3] in 0 … 1, decoded tile by tile."""
    pipeline = _pipeline_class(
        # Embeddings are given, and with a cache there is no text encoder.
        tokenizer=encoders.tokenizer, text_encoder=None, vae=encoders.vae, transformer=model,
        scheduler=type(encoders.scheduler).from_config(encoders.scheduler.config),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    pipeline.decode_latents = encoders.decode
    frames: NDArray[np.float32] = pipeline(
        image=Image.fromarray(scene.image), id_map=Image.fromarray(scene.id_map),
        prompt_embeds=scene.conditions["prompt"], negative_prompt_embeds=scene.empty,
        max_sequence_length=scene.empty.shape[1],
        height=scene.image.shape[0], width=scene.image.shape[1], num_frames=scene.frames,
        num_inference_steps=scene.steps, guidance_scale=scene.guidance, generator=scene.generator, output_type="np",
    ).frames[0]  # fmt: skip
    return frames
