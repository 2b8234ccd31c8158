"""The frozen half of a pipeline: VAE, text encoder, tokenizer and noise schedule, from a diffusers folder or hub name.

encoders = CogVideoX.encoders.load("THUDM/CogVideoX-5b-I2V", dtype=torch.bfloat16)
video = encoders.video(frames)        # Posterior of scaled latents, [B, F, 16, H/8, W/8]
prompt = encoders.prompt(input_ids)   # [B, L, text width]
"""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from matrix_train.attention.grid import Grid
from matrix_train.attention.tags import add_tags
from matrix_train.backbones.pretrained import (
    read_commit,
    read_config,
    read_tokenizer_of,
    read_transformers_config,
    read_weights,
)
from matrix_train.errors import UserError

Part = Literal["vae", "text_encoder"]


@dataclass(frozen=True)
class Posterior:
    """A VAE's answer: mean and standard deviation of scaled latents, each [B, F, 16, H/8, W/8]."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + self.std * noise


class Encoders(ABC):
    """See the module. Nothing in here is trained, and no method keeps a graph.

    A backbone names the classes of its pipeline in a subclass, and overrides what its VAE does otherwise. (They are
    diffusers' and transformers', which are typed in part only.)
    """

    vae_class: ClassVar[Any]
    text_class: ClassVar[Any]
    tokenizer_class: ClassVar[Any]
    scheduler_classes: ClassVar[tuple[Any, ...]]
    """Noise schedules that the model is trained on."""
    prediction_type: ClassVar[str]
    """What its schedule must say that the model predicts."""

    def __init__(self, vae: Any, text_encoder: Any, tokenizer: PreTrainedTokenizerFast, scheduler: Any) -> None:
        """text_encoder: None where every prompt's embeddings come from a cache."""
        self.vae, self.text_encoder, self.tokenizer, self.scheduler = vae, text_encoder, tokenizer, scheduler
        self._empty: dict[int, Tensor] = {}
        for module in self.modules():
            module.eval().requires_grad_(False)

    @classmethod
    def load(
        cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None, text: bool = True
    ) -> Self:
        """text: False leaves the text encoder where it is. UserError where a part is missing or cannot be read."""
        tokenizer, scheduler = cls.read_tokenizer(name_or_path, revision), cls.read_scheduler(name_or_path, revision)
        vae = read_weights(cls.vae_class, name_or_path, "vae", revision, torch_dtype=dtype)
        encoder = read_weights(cls.text_class, name_or_path, "text_encoder", revision, dtype=dtype) if text else None
        return cls(vae, encoder, tokenizer, scheduler)

    @classmethod
    def plan(
        cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None, text: bool = True
    ) -> Self:
        """The same on the meta device: configurations are read, weights are not. UserError."""
        tokenizer, scheduler = cls.read_tokenizer(name_or_path, revision), cls.read_scheduler(name_or_path, revision)
        vae = read_config(cls.vae_class, name_or_path, "vae", revision)
        encoder = read_transformers_config(cls.text_class, name_or_path, "text_encoder", revision) if text else None
        with torch.device("meta"):
            made = cls(cls.vae_class.from_config(vae), encoder and cls.text_class(encoder), tokenizer, scheduler)
        for module in made.modules():
            torch.nn.Module.to(module, dtype)  # not `module.to`: diffusers logs advice about checkpoints there
        return made

    def modules(self) -> list[Any]:
        """The networks."""
        return [module for module in (self.vae, self.text_encoder) if module is not None]

    def repeated(self) -> tuple[torch.nn.Module, ...]:
        """Parts of the VAE that it calls again and again on the same shapes, and that keep nothing between calls."""
        return ()

    @classmethod
    def read_tokenizer(cls, name_or_path: str, revision: str | None = None) -> PreTrainedTokenizerFast:
        """The pipeline's tokenizer alone, which knows tags too. UserError where it cannot be read."""
        found: PreTrainedTokenizerFast = read_tokenizer_of(cls.tokenizer_class, name_or_path, revision)
        add_tags(found)
        return found

    @classmethod
    def read_scheduler(cls, name_or_path: str, revision: str | None = None) -> Any:
        """The pipeline's noise schedule. UserError where it cannot be read, or the model is trained on others."""
        config = read_config(cls.scheduler_classes[0], name_or_path, "scheduler", revision)
        name = config.get("_class_name")
        known = next((kind for kind in cls.scheduler_classes if kind.__name__ == name), None)
        if known is None:
            raise UserError(f"model.path {name_or_path}: this model is not trained on the noise schedule {name}")
        try:
            scheduler = known.from_config(config)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"model.path {name_or_path}: its schedule has unusable settings: {error}") from None
        if scheduler.config.prediction_type != cls.prediction_type:
            found = scheduler.config.prediction_type
            raise UserError(f"this schedule predicts {found!r}; the model is trained on {cls.prediction_type!r}")
        return scheduler

    def to(self, device: torch.device) -> Self:
        for module in self.modules():
            module.to(device)
        if device.type == "cuda":
            channels_last(self.vae)
        return self

    @torch.no_grad()
    def video(self, frames: Tensor) -> Posterior:
        """Frames uint8 [B, T, 3, H, W], T = 1 + 4 n, as latents [B, 1 + n, 16, H/8, W/8]."""
        return self._encode(_unit(frames), self.vae.config.scaling_factor)

    @torch.no_grad()
    def image(self, image: Tensor) -> Posterior:
        """First-frame condition [B, 3, H, W] in −1 … 1, as latents [B, 1, 16, H/8, W/8]."""
        return self._encode(image[:, None], self.condition_scale())

    @torch.no_grad()
    def id_map(self, id_map: Tensor) -> Tensor:
        """ID maps uint8 [B, 3, H, W] in palette colours, as latents [B, 1, 16, H/8, W/8]: the posterior's mean."""
        return self.image(_unit(id_map)).mean

    @torch.no_grad()
    def prompt(self, input_ids: Tensor) -> Tensor:
        """Text embeddings [B, L, text width] of padded ids [B, L]; padding is not masked, as CogVideoX was trained."""
        embeddings: Tensor = self.text_encoder(input_ids)[0]
        return embeddings

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Frames [B, 3, T, H, W] in −1 … 1 of scaled latents [B, F, 16, H/8, W/8].

        Tile by tile: a clip of 49 × 480 × 720 at once takes 15.8 GB, in tiles 4.0.
        """
        self.vae.enable_tiling()
        try:
            frames: Tensor = self.vae.decode(latents.transpose(1, 2) / self.vae.config.scaling_factor).sample
        finally:
            self.vae.disable_tiling()
        return frames

    @abstractmethod
    def clean(self, latents: Tensor, grid: Grid) -> Tensor:
        """Latents of a clip [B, f, C, h, w] as the transformer takes them, F = `grid.latent_frames` of them."""

    @abstractmethod
    def conditions(self, image: Tensor, id_map: Tensor, frames: int, grid: Grid) -> Tensor:
        """What the transformer reads beside the noised latents, [B, F, channels, h, w].

        image, id_map: latents [B, 1, C, h, w] of the first frame and its ID map. frames: of the clip's own latents.
        """

    def timesteps(self, drawn: Tensor) -> Tensor:
        """Timesteps of training from numbers that are uniform in 0 … 1, [B]."""
        steps: int = self.scheduler.config.num_train_timesteps
        return (drawn * steps).long()

    def empty(self, length: int) -> Tensor:
        """Embeddings [1, L, text width] of the empty caption, for caption dropout and guidance."""
        if length not in self._empty:
            ids = self.tokenizer("", padding="max_length", max_length=length)["input_ids"]
            self._empty[length] = self.prompt(torch.tensor([ids], device=self.vae.device))
        return self._empty[length]

    def condition_scale(self) -> float:
        """What the latents of a condition are multiplied by."""
        scale: float = self.vae.config.scaling_factor
        return scale

    def _encode(self, frames: Tensor, scale: float) -> Posterior:
        """frames: [B, T, 3, H, W] in −1 … 1."""
        posterior = self.vae.encode(frames.transpose(1, 2).to(self.vae.dtype)).latent_dist
        return Posterior(posterior.mean.transpose(1, 2) * scale, posterior.std.transpose(1, 2) * scale)


def channels_last(module: torch.nn.Module) -> None:
    """Lays out the weights of its convolutions as a GPU's tensor cores read them: channels innermost.

    cuDNN takes the layout from the weights and hands it on, so nothing is turned around between two convolutions. In
    the usual layout it turns every bfloat16 input around first, or takes a kernel without tensor cores.
    """
    for weight in module.parameters():
        if weight.dim() in (4, 5):
            layout = torch.channels_last if weight.dim() == 4 else torch.channels_last_3d
            weight.data = weight.data.contiguous(memory_format=layout)


def _unit(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1.0


def identity(name_or_path: str, part: Part, revision: str | None) -> str:
    """What a cached encoding depends on: digest of a local folder's files, or hub name and commit. UserError."""
    folder = Path(name_or_path) / part
    if not Path(name_or_path).is_dir():
        return f"{name_or_path}@{read_commit(name_or_path, part, revision)}/{part}"
    digests = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors"}):
        digests[path.name] = _digest(path, path.stat().st_mtime_ns)
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]


@cache
def _digest(path: Path, changed: int) -> str:  # noqa: ARG001
    """SHA-256 of a file; gigabytes, so once for each change of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
