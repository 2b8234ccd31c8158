"""Sampling with an ID map: diffusers' Wan image-to-video pipeline with one more condition (paper §5).

    pipe = load_into(WanImageToVideoPipeline.from_pretrained(base), run)
    video = pipe(image=first_frame, id_map=Image.open("clip.idmap.png"), prompt="A man pushes a cart.").frames[0]

The ID map is encoded by diffusers' own code for first frames, and reaches the transformer as more channels behind all
others. Scheduler, guidance, text, decoding and every argument are diffusers' own.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from matrix_train.backbones.pipeline import TakesIdMap

# diffusers is typed in part only.
_stock_pipeline: Any = WanImageToVideoPipeline


class WanMatrixPipeline(TakesIdMap, _stock_pipeline):  # type: ignore[misc]
    """`WanImageToVideoPipeline` whose transformer also reads the ID map of the first frame, one a call as its image."""

    stock = _stock_pipeline

    @staticmethod
    def input_channels(config: Mapping[str, Any]) -> int:
        return with_id_map(config)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `TakesIdMap`."""
        watched = self.transformer.register_forward_pre_hook(self._join, with_kwargs=True)
        try:
            return super().__call__(*args, **kwargs)
        finally:
            watched.remove()

    def prepare_latents(
        self, image: Tensor, batch_size: int, channels: int, height: int, width: int, num_frames: int, *rest: Any
    ) -> tuple[Tensor, ...]:
        """As diffusers' own; the ID map's condition [B, C, F, h, w] is kept for the transformer's calls."""
        found: tuple[Tensor, ...] = super().prepare_latents(
            image, batch_size, channels, height, width, num_frames, *rest
        )
        latents = found[0]
        dtype, device = latents.dtype, latents.device
        pixels = self.id_map_pixels(height, width).to(device, torch.float32)
        condition: Tensor = super().prepare_latents(
            pixels, batch_size, channels, height, width, num_frames, dtype, device, None, latents
        )[1]
        later = condition.new_zeros(*condition.shape[:2], latents.shape[2] - condition.shape[2], *latents.shape[3:])
        self._id_channels = torch.cat([condition, later], dim=2)
        return found

    def _join(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Before every call of the transformer."""
        states = kwargs["hidden_states"]
        states = torch.cat([states, self._id_channels.to(states)], dim=1)
        # The pipeline goes by the model's first weights, which are float32 while they are trained; the others are not.
        dtype = module.proj_out.weight.dtype
        read = {name: kwargs[name] for name in ("encoder_hidden_states", "encoder_hidden_states_image")}
        given = {name: value if value is None else value.to(dtype) for name, value in read.items()}
        return args, {**kwargs, **given, "hidden_states": states.to(dtype)}


def with_id_map(config: Mapping[str, Any]) -> int:
    """Channels of the input with the ID map's: a first frame's mask and latents, or where the first frame takes the
    place of the noised one, latents alone."""
    latents: int = config["out_channels"]
    return 3 * latents + 2 * MASK_CHANNELS if config["image_dim"] is not None else 2 * latents


MASK_CHANNELS = 4
"""Frames of a latent frame: each has its share of the mask that says which are given."""
