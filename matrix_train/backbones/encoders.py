"""The frozen half of a pipeline: VAE, text encoder, tokenizer and noise schedule, from a diffusers folder or hub name.

encoders = backbone.encoders.load("some/pipeline", dtype=torch.bfloat16)
video = encoders.video(frames)            # Posterior of scaled latents, [B, F, C, h, w]
known = encoders.encode(video, id_map, input_ids)      # what of a clip never changes: the cache keeps it
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

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
from matrix_train.files import file_sha256

Conditions = dict[str, Tensor]
"""What a transformer reads beside noised latents, by the backbone's own names, each [B, …]. `prompt`: the embeddings
[B, L, text width] that SGA's roles are tokens of."""

VAE = "vae"


@dataclass(frozen=True)
class Posterior:
    """A VAE's answer: mean and standard deviation of scaled latents, each [B, F, C, h, w]."""

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
    reader_classes: ClassVar[Mapping[str, Any]]
    """Classes of transformers of what reads prompt or picture, by folder: `text_encoder`, and whatever more. Where a
    cache keeps what they say, they are not loaded."""
    tokenizer_class: ClassVar[Any]
    scheduler_classes: ClassVar[tuple[Any, ...]]
    """Noise schedules that the model is trained on."""
    prediction_type: ClassVar[str]
    """What its schedule must say that the model predicts."""
    image_noise: ClassVar[bool]
    """Whether the model was made with noise on its first frame. Where not, the frame's latents never change, and are
    part of `encode`."""

    def __init__(
        self, vae: Any, readers: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast, scheduler: Any
    ) -> None:
        """readers: as `reader_classes`; empty where all that they say comes from a cache."""
        self.vae, self.readers, self.tokenizer, self.scheduler = vae, dict(readers), tokenizer, scheduler
        self._empty: dict[int, Tensor] = {}
        for module in self.modules():
            module.eval().requires_grad_(False)

    @classmethod
    def load(
        cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None, read: bool = True
    ) -> Self:
        """read: False leaves the readers where they are. UserError where a part is missing or cannot be read."""
        tokenizer, scheduler = cls.read_tokenizer(name_or_path, revision), cls.read_scheduler(name_or_path, revision)
        vae = read_weights(cls.vae_class, name_or_path, VAE, revision, torch_dtype=dtype)
        readers = {
            part: read_weights(kind, name_or_path, part, revision, dtype=dtype)
            for part, kind in cls.reader_classes.items() if read
        }  # fmt: skip
        return cls(vae, readers, tokenizer, scheduler)

    @classmethod
    def plan(
        cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None, read: bool = True
    ) -> Self:
        """The same on the meta device: configurations are read, weights are not. UserError."""
        tokenizer, scheduler = cls.read_tokenizer(name_or_path, revision), cls.read_scheduler(name_or_path, revision)
        vae = read_config(cls.vae_class, name_or_path, VAE, revision)
        configs = {
            part: read_transformers_config(kind, name_or_path, part, revision)
            for part, kind in cls.reader_classes.items() if read
        }  # fmt: skip
        return cls.on_meta(vae, configs, tokenizer, scheduler, dtype)

    @classmethod
    def on_meta(
        cls, vae: Mapping[str, Any], readers: Mapping[str, Any], tokenizer: Any, scheduler: Any, dtype: torch.dtype
    ) -> Self:
        """From configurations, without weights."""
        with torch.device("meta"):
            made = cls(
                cls.vae_class.from_config(vae),
                {part: cls.reader_classes[part](config) for part, config in readers.items()}, tokenizer, scheduler,
            )  # fmt: skip
        for module in made.modules():
            torch.nn.Module.to(module, dtype)  # not `module.to`: diffusers logs advice about checkpoints there
        return made

    @classmethod
    @abstractmethod
    def released(cls) -> Self:
        """Those of the released model on the meta device, without tokenizer and schedule."""

    def modules(self) -> list[Any]:
        """The networks."""
        return [self.vae, *self.readers.values()]

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
        return self

    @torch.no_grad()
    def video(self, frames: Tensor) -> Posterior:
        """Frames uint8 [B, T, 3, H, W] as latents [B, F, C, h, w]."""
        return self._encode(unit(frames), *self.latent_scale())

    @torch.no_grad()
    def image(self, image: Tensor, frames: int) -> Posterior:  # noqa: ARG002
        """A first frame [B, 3, H, W] in −1 … 1 of a clip of so many frames, as the condition's latents."""
        return self._encode(image[:, None], *self.condition_scale())

    @torch.no_grad()
    def id_map(self, id_map: Tensor, frames: int) -> Tensor:
        """ID maps uint8 [B, 3, H, W] in palette colours, as a first frame's latents are made: the posterior's mean."""
        return self.image(unit(id_map), frames).mean

    @abstractmethod
    def prompt(self, input_ids: Tensor) -> Tensor:
        """Text embeddings [B, L, text width] of padded ids [B, L]."""

    def read(self, image: Tensor, input_ids: Tensor) -> Conditions:  # noqa: ARG002
        """What the readers make of first frames uint8 [B, 3, H, W] and prompts [B, L]: all that sampling is to be
        given."""
        return {"prompt": self.prompt(input_ids)}

    def encode(self, video: Tensor, id_map: Tensor, input_ids: Tensor) -> dict[str, Tensor]:
        """All that never changes of clips uint8 [B, T, 3, H, W], by name: what a cache keeps.

        `mean` and `std` of the video's latents, `id_map`, `prompt`; `image` where the first frame gets no noise.
        """
        latents, frames = self.video(video), video.shape[1]
        known = {"mean": latents.mean, "std": latents.std, "id_map": self.id_map(id_map, frames)}
        known["prompt"] = self.prompt(input_ids)
        if not self.image_noise:
            known["image"] = self.image(unit(video[:, 0]), frames).mean
        return known

    @torch.no_grad()
    def decode(self, latents: Tensor, tiled: bool = True) -> Tensor:
        """Frames [B, 3, T, H, W] in −1 … 1 of scaled latents [B, F, C, h, w].

        tiled: tile by tile; a clip of 49 × 480 × 720 at once takes 15.8 GB, in tiles 4.0.
        """
        scale, shift = self.latent_scale()
        if tiled:
            self.vae.enable_tiling()
        try:
            frames: Tensor = self.vae.decode((latents / scale + shift).transpose(1, 2).to(self.vae.dtype)).sample
        finally:
            self.vae.disable_tiling()
        return frames

    @abstractmethod
    def conditions(self, known: Mapping[str, Tensor], prompt: Tensor, grid: Grid) -> Conditions:
        """What the transformer reads beside the noised latents.

        known: as `encode` made it, and `image`, the first frame's latents. prompt: embeddings [B, L, text width], the
        clip's own or the empty caption's.
        """

    def clean(self, latents: Tensor, grid: Grid) -> Tensor:  # noqa: ARG002
        """Latents of a clip [B, f, C, h, w] as the transformer takes them, F = `grid.latent_frames` of them."""
        return latents

    @abstractmethod
    def timesteps(self, drawn: Tensor) -> Tensor:
        """Timesteps of training from numbers that are uniform in 0 … 1, [B]."""

    def empty(self, length: int) -> Tensor:
        """Embeddings [1, L, text width] of the empty caption, for caption dropout and guidance."""
        if length not in self._empty:
            ids = self.tokenizer("", padding="max_length", max_length=length)["input_ids"]
            self._empty[length] = self.prompt(torch.tensor([ids], device=self.vae.device))
        return self._empty[length]

    @abstractmethod
    def latent_scale(self) -> tuple[Any, Any]:
        """(scale, shift): the VAE's latents, less the shift, are multiplied by the scale. Numbers, or [C, 1, 1]."""

    def condition_scale(self) -> tuple[Any, Any]:
        """The same for a condition's latents."""
        return self.latent_scale()

    def _encode(self, frames: Tensor, scale: Any, shift: Any) -> Posterior:
        """frames: [B, T, 3, H, W] in −1 … 1."""
        dtype = self.vae.dtype
        posterior = self.vae.encode(frames.transpose(1, 2).to(dtype)).latent_dist
        mean, std = (posterior.mean.transpose(1, 2) - shift) * scale, posterior.std.transpose(1, 2) * scale
        return Posterior(mean.to(dtype), std.to(dtype))


def unit(pixels: Tensor) -> Tensor:
    """uint8 as −1 … 1."""
    return pixels.float() / 127.5 - 1.0


def identity(name_or_path: str, part: str, revision: str | None) -> str:
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
    return file_sha256(path)
