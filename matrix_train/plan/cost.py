"""What an optimiser step does, encoders included, and the memory of what is done beside it: on the meta device."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from matrix_train.backbones import Backbone, Encoders
from matrix_train.backbones.configured import plan_backbone
from matrix_train.backbones.encoders import unit
from matrix_train.config import DTYPES, Config
from matrix_train.plan.flops import costly_roles, count_flops, training_step

ROLE_TOKENS = 8
"""Text tokens of a role in the plan: more than most captions give."""


@dataclass(frozen=True)
class StepCost:
    """FLOPs of one process's optimiser step."""

    model: int
    """Forward and backward pass of the transformer, decoders and losses."""
    again: int
    """What checkpointing forms again in the backward pass."""
    encoding: int
    """VAE and text encoder: without `train.cache` of everything, with it of the noised first frame alone."""

    @property
    def useful(self) -> int:
        """What MFU counts: nothing twice."""
        return self.model + self.encoding

    @property
    def done(self) -> int:
        """What HFU counts."""
        return self.useful + self.again


def step_cost(config: Config) -> StepCost:
    """Of the costliest roles. Configurations are read, weights are not. UserError as for a run that would start."""
    samples = config.train.batch_size * config.train.accumulate
    done = count_flops(planned_step(config, plan_backbone(config)))
    model = done
    if config.model.checkpointing != "none":
        kept = config.model_copy(update={"model": config.model.model_copy(update={"checkpointing": "none"})})
        model = count_flops(planned_step(kept, plan_backbone(kept)))
    encoding = count_flops(planned_encoding(config, plan_encoders(config)))
    return StepCost(model * samples, (done - model) * samples, encoding * samples)


def plan_encoders(config: Config, whole: bool = False) -> Encoders:
    """The encoders that a run loads, on the meta device. whole: all that fill its cache."""
    backbone = plan_backbone(config)
    dtype, read = DTYPES[config.model.precision], whole or config.train.cache is None
    return backbone.encoders.plan(config.model.path, dtype, config.model.revision, read)


def planned_step(config: Config, backbone: Backbone) -> Callable[[], None]:
    """Forward and backward pass of one sample."""
    size = (config.data.frames, config.data.height, config.data.width)
    roles = costly_roles(backbone, *size, ROLE_TOKENS) if config.aligned else None
    return training_step(backbone, *size, roles, config.align.supervise_stride)


def planned_encoding(config: Config, encoders: Encoders) -> Callable[[], None]:
    """All that a step encodes of one sample."""
    video, id_map, ids = blank_clip(config)

    def run() -> None:
        if encoders.image_noise:
            encoders.image(unit(id_map), config.data.frames)
        if config.train.cache is None:
            encoders.encode(video, id_map, ids)

    return run


def blank_clip(config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Video, ID map and token ids of one sample on the meta device, as `Encoders.encode` takes them."""
    data = config.data
    with torch.device("meta"):
        video = torch.zeros(1, data.frames, 3, data.height, data.width, dtype=torch.uint8)
        return video, video[:, 0], torch.zeros(1, data.max_tokens, dtype=torch.long)


def planned_sampling(config: Config, backbone: Backbone, encoders: Encoders) -> tuple[Callable[[], None], ...]:
    """First frame or ID map of a sampled video encoded, a denoising step, its decoding; none where none is sampled."""
    validation, data = config.validation, config.data
    if not (validation.every and validation.videos):
        return ()
    size = (data.frames, data.height, data.width)
    together = validation.guidance > 1 and backbone.prompts_together
    latents, conditions, timesteps = backbone.blank(2 if together else 1, *size)
    _, id_map, _ = blank_clip(config)

    def encode() -> None:
        # By the pipeline, cache or not, and not in tiles; some have a clip of zeros behind it.
        encoders.image(unit(id_map), data.frames)

    @torch.no_grad()
    def denoise() -> None:
        backbone.predict(latents, conditions, timesteps)

    def decode() -> None:
        encoders.decode(latents[:1])

    return encode, denoise, decode
