"""From a batch to what one forward pass reads: latents, conditions, noise, timesteps, masks (paper §5, App. D)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from matrix_train.align.metrics import latent_masks
from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import Family, RoleWeights, role_masks
from matrix_train.backbones.encoders import Encoders, Posterior
from matrix_train.fit.noise import generator, normal, send, uniform

if TYPE_CHECKING:
    from matrix_train.data import Batch
    from matrix_train.fit.cache import LatentCache


@dataclass(frozen=True)
class Inputs:
    """F: latent frames as the transformer takes them (`Grid.latent_frames`)."""

    clean: Tensor
    """Scaled video latents [B, F, 16, H/8, W/8]."""
    conditions: Tensor
    """First-frame latent and ID-map latent [B, F, 32, H/8, W/8], zero after the first frame."""
    noise: Tensor
    """Standard normal, shaped like `clean`."""
    timesteps: Tensor
    """[B] int64."""
    prompt: Tensor
    """[B, L, text width]."""
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
    encoded = encode(batch, encoders) if cached is None else cached
    video, id_map, prompt = Posterior(encoded["mean"], encoded["std"]), encoded["id_map"], encoded["prompt"]
    clean = encoders.clean(video.sample(normal(named("latents"), video.mean.shape[1:], video.mean)), grid)
    first = batch.video[:, 0].float() / 127.5 - 1.0
    if draw.image_noise:
        # CogVideoX-I2V saw its first frame through noise of σ = exp(N(−3, 0.5)): a cure for copied, frozen frames.
        sigma = torch.exp(normal(named("image sigma"), (1, 1, 1), first) * 0.5 - 3.0)
        first = first + sigma * normal(named("image"), first.shape[1:], first)
    image = encoders.image(first)
    image_latent = image.sample(normal(named("image latents"), image.mean.shape[1:], image.mean))
    dropped = send(uniform(named("dropout")) < draw.caption_dropout, device)
    if draw.caption_dropout:
        empty = empty_prompt(encoders, cache, batch.input_ids)
        prompt = torch.where(dropped[:, None, None], empty, prompt)
    if draw.timestep is None:
        timesteps = send(encoders.timesteps(uniform(named("timestep"))), device)
    else:
        timesteps = torch.full((len(batch.keys),), draw.timestep, dtype=torch.long, device=device)
    full = role_masks(batch.masks, batch.pairs, 1)
    return Inputs(
        clean=clean,
        conditions=encoders.conditions(image_latent, id_map, video.mean.shape[1], grid),
        noise=normal(named("noise"), clean.shape[1:], clean),
        timesteps=timesteps,
        prompt=prompt,
        roles=batch.roles,
        masks=full if stride == 1 else role_masks(batch.masks, batch.pairs, stride),
        cells=latent_masks(full, grid.height, grid.width, grid.time_factor),
        # A dropped caption leaves no words to ground; propagation starts from cells and needs none.
        present={"sga": batch.roles.text.present & ~dropped[:, None], "spa": batch.roles.video.present},
    )


def empty_prompt(encoders: Encoders, cache: "LatentCache | None", input_ids: Tensor) -> Tensor:
    """Embeddings [1, L, text width] of the empty caption, for prompts like these ids [B, L]."""
    return encoders.empty(input_ids.shape[1]) if cache is None else cache.empty(input_ids.device)


def encode(batch: "Batch", encoders: Encoders) -> dict[str, Tensor]:
    """What the cache keeps of a batch: see `LatentCache.read`."""
    video = encoders.video(batch.video)
    id_map, prompt = encoders.id_map(batch.id_map), encoders.prompt(batch.input_ids)
    return {"mean": video.mean, "std": video.std, "id_map": id_map, "prompt": prompt}
