"""From a batch to what one forward pass reads: latents, conditions, noise, timesteps, masks (paper §5, App. D)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from matrix_train.align.metrics import latent_masks
from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import Family, RoleWeights, role_masks
from matrix_train.backbones.encoders import Conditions, Encoders, Posterior, unit
from matrix_train.fit.noise import generator, normal, send, uniform

if TYPE_CHECKING:
    from matrix_train.data import Batch
    from matrix_train.fit.cache import LatentCache


@dataclass(frozen=True)
class Inputs:
    """F: latent frames as the transformer takes them (`Grid.latent_frames`)."""

    clean: Tensor
    """Scaled video latents [B, F, C, h, w]."""
    conditions: Conditions
    """What the transformer reads beside them, `prompt` among it, as its encoders made it."""
    noise: Tensor
    """Standard normal, shaped like `clean`."""
    timesteps: Tensor
    """[B]."""
    roles: RoleWeights
    masks: Tensor
    """Masks of the roles at the supervised stride [B, R, T, H/s, W/s], R = 3 K: subject, verb, object of each
    interaction."""
    cells: Tensor
    """The same on the token lattice, bool [B, R, F_tokens, h, w]."""
    present: dict[Family, Tensor]
    """Roles that alignment may use, bool [B, R]."""


@dataclass(frozen=True)
class Draw:
    """How the randomness of a batch is named, and what is fixed."""

    seed: int
    purpose: str
    caption_dropout: float = 0.0
    image_noise: bool = True
    timestep: int | None = None


def prepare(
    batch: "Batch",
    encoders: Encoders,
    grid: Grid,
    stride: int,
    draw: Draw,
    device: torch.device,
    cache: "LatentCache | None" = None,
) -> Inputs:
    """Moves a batch from the CPU to the device and encodes it, or takes its latents and text from the cache."""

    def named(what: str) -> list[torch.Generator]:
        return [generator(draw.seed, draw.purpose, what, batch.epoch, key) for key in batch.keys]

    cached = None if cache is None else cache.read(batch, device)
    batch = batch.to(device)
    known = encoders.encode(batch.video, batch.id_map, batch.input_ids) if cached is None else cached
    video, prompt = Posterior(known["mean"], known["std"]), known["prompt"]
    clean = encoders.clean(video.sample(normal(named("latents"), video.mean.shape[1:], video.mean)), grid)
    if encoders.image_noise:
        first = unit(batch.video[:, 0])
        if draw.image_noise:
            # Such a model saw its first frame through noise of σ = exp(N(−3, 0.5)): a cure for copied, frozen frames.
            sigma = torch.exp(normal(named("image sigma"), (1, 1, 1), first) * 0.5 - 3.0)
            first = first + sigma * normal(named("image"), first.shape[1:], first)
        image = encoders.image(first, batch.masks.shape[2])
        known["image"] = image.sample(normal(named("image latents"), image.mean.shape[1:], image.mean))
    dropped = send(uniform(named("dropout")) < draw.caption_dropout, device)
    if draw.caption_dropout:
        empty = empty_prompt(encoders, cache, batch.input_ids)
        prompt = torch.where(dropped[:, None, None], empty, prompt)
    timesteps = send(encoders.timesteps(uniform(named("timestep"))), device)
    if draw.timestep is not None:
        timesteps = torch.full_like(timesteps, draw.timestep)
    full = role_masks(batch.masks, batch.pairs, 1)
    return Inputs(
        clean=clean,
        conditions=encoders.conditions(known, prompt, grid),
        noise=normal(named("noise"), clean.shape[1:], clean),
        timesteps=timesteps,
        roles=batch.roles,
        masks=full if stride == 1 else role_masks(batch.masks, batch.pairs, stride),
        cells=latent_masks(full, grid.height, grid.width, grid.time_factor),
        # A dropped caption leaves no words to ground; propagation starts from cells and needs none.
        present={"sga": batch.roles.text.present & ~dropped[:, None], "spa": batch.roles.video.present},
    )


def empty_prompt(encoders: Encoders, cache: "LatentCache | None", input_ids: Tensor) -> Tensor:
    """Embeddings [1, L, text width] of the empty caption, for prompts like these ids [B, L]."""
    return encoders.empty(input_ids.shape[1]) if cache is None else cache.empty(input_ids.device)
