"""From a batch to what one forward pass reads: latents, conditions, noise, timesteps, masks (paper §5, App. D)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from matrix_train.align.losses import Family, role_masks
from matrix_train.align.metrics import latent_masks
from matrix_train.attention.grid import Grid
from matrix_train.attention.roles import RoleWeights
from matrix_train.backbones.encoders import Encoders, Posterior
from matrix_train.data import Batch
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.noise import generator, normal, send, uniform

TRAIN_TIMESTEPS = 1000


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
    """Masks of subject, verb, object at the supervised stride [B, 3, T, H/s, W/s]."""
    cells: Tensor
    """The same on the token lattice, bool [B, 3, F_tokens, h, w]."""
    present: dict[Family, Tensor]
    """Roles that alignment may use, bool [B, 3]."""


@dataclass(frozen=True)
class Draw:
    """How the randomness of a batch is named, and what is fixed."""

    seed: int
    purpose: str
    caption_dropout: float = 0.0
    image_noise: bool = True
    timestep: int | None = None


def prepare(
    batch: Batch,
    encoders: Encoders,
    grid: Grid,
    stride: int,
    draw: Draw,
    device: torch.device,
    cache: LatentCache | None = None,
) -> Inputs:
    """Moves a batch from the CPU to the device and encodes it, or takes its latents and text from the cache."""

    def named(what: str) -> list[torch.Generator]:
        return [generator(draw.seed, draw.purpose, what, batch.epoch, key) for key in batch.keys]

    cached = None if cache is None else cache.read(batch, device)
    batch = batch.to(device)
    encoded = encode(batch, encoders) if cached is None else cached
    video, id_map, prompt = Posterior(encoded["mean"], encoded["std"]), encoded["id_map"], encoded["prompt"]
    lead = grid.latent_frames - video.mean.shape[1]
    clean = _led(video.sample(normal(named("latents"), video.mean.shape[1:], video.mean)), lead)
    first = batch.video[:, 0].float() / 127.5 - 1.0
    if draw.image_noise:
        # CogVideoX-I2V saw its first frame through noise of σ = exp(N(−3, 0.5)): a cure for copied, frozen frames.
        sigma = torch.exp(normal(named("image sigma"), (1, 1, 1), first) * 0.5 - 3.0)
        first = first + sigma * normal(named("image"), first.shape[1:], first)
    image = encoders.image(first)
    image_latent = image.sample(normal(named("image latents"), image.mean.shape[1:], image.mean))
    conditions = torch.cat([image_latent, id_map], dim=2)
    conditions = torch.cat(
        [conditions, conditions.new_zeros(len(batch.keys), video.mean.shape[1] - 1, *conditions.shape[2:])], 1
    )
    dropped = send(uniform(named("dropout")) < draw.caption_dropout, device)
    if draw.caption_dropout:
        empty = encoders.empty(batch.input_ids.shape[1]) if cache is None else cache.empty(device)
        prompt = torch.where(dropped[:, None, None], empty, prompt)
    if draw.timestep is None:
        timesteps = send((uniform(named("timestep")) * TRAIN_TIMESTEPS).long(), device)
    else:
        timesteps = torch.full((len(batch.keys),), draw.timestep, dtype=torch.long, device=device)
    used = (batch.aligned & ~dropped)[:, None]
    full = role_masks(batch.subject, batch.object, 1)
    return Inputs(
        clean=clean,
        conditions=_led(conditions, lead),
        noise=normal(named("noise"), clean.shape[1:], clean),
        timesteps=timesteps,
        prompt=prompt,
        roles=batch.roles,
        masks=role_masks(batch.subject, batch.object, stride),
        cells=latent_masks(full, grid.height, grid.width, grid.time_factor),
        present={"sga": batch.roles.text.present & used, "spa": batch.roles.video.present & used},
    )


def encode(batch: Batch, encoders: Encoders) -> dict[str, Tensor]:
    """What the cache keeps of a batch: see `LatentCache.read`."""
    video = encoders.video(batch.video)
    id_map, prompt = encoders.id_map(batch.id_map), encoders.prompt(batch.input_ids)
    return {"mean": video.mean, "std": video.std, "id_map": id_map, "prompt": prompt}


def _led(latents: Tensor, lead: int) -> Tensor:
    """The first latent frame again, `lead` times in front: CogVideoX 1.5 takes frames in pairs."""
    return torch.cat([latents[:, :1].expand(-1, lead, -1, -1, -1), latents], dim=1) if lead else latents
