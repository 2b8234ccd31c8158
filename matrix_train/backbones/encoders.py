"""The frozen half of a pipeline: VAE, text encoder, tokenizer and noise schedule, from a diffusers folder or hub name.

encoders = CogVideoX.encoders.load("THUDM/CogVideoX-5b-I2V", dtype=torch.bfloat16)
video = encoders.video(frames)        # Posterior of scaled latents, [B, F, 16, H/8, W/8]
prompt = encoders.prompt(input_ids)   # [B, L, text width]
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from matrix_train.backbones.pretrained import read_config, read_tokenizer_of, read_transformers_config, read_weights
from matrix_train.errors import UserError

Part = Literal["vae", "text_encoder"]


@dataclass(frozen=True)
class Posterior:
    """A VAE's answer: mean and standard deviation of scaled latents, each [B, F, 16, H/8, W/8]."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + self.std * noise


class Encoders:
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
        self.vae, self.text_encoder, self.tokenizer, self.scheduler = vae, text_encoder, tokenizer, scheduler
        self._empty: dict[int, Tensor] = {}
        for module in (vae, text_encoder):
            module.eval().requires_grad_(False)

    @classmethod
    def load(cls, name_or_path: str, dtype: torch.dtype = torch.float32, revision: str | None = None) -> Self:
        """UserError where a part is missing or cannot be read."""
        tokenizer, scheduler = cls.read_tokenizer(name_or_path, revision), cls.read_scheduler(name_or_path, revision)
        vae = read_weights(cls.vae_class, name_or_path, "vae", revision, torch_dtype=dtype)
        text = read_weights(cls.text_class, name_or_path, "text_encoder", revision, dtype=dtype)
        return cls(vae, text, tokenizer, scheduler)

    @classmethod
    def read_tokenizer(cls, name_or_path: str, revision: str | None = None) -> PreTrainedTokenizerFast:
        """The pipeline's tokenizer alone. UserError where it cannot be read."""
        found: PreTrainedTokenizerFast = read_tokenizer_of(cls.tokenizer_class, name_or_path, revision)
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

    @classmethod
    def count_parameters(cls, name_or_path: str, revision: str | None = None) -> dict[Part, int]:
        """Of VAE and text encoder, from their configurations alone: no weights are read. UserError."""
        vae = read_config(cls.vae_class, name_or_path, "vae", revision)
        text = read_transformers_config(cls.text_class, name_or_path, "text_encoder", revision)
        with torch.device("meta"):
            made: dict[Part, Any] = {"vae": cls.vae_class.from_config(vae), "text_encoder": cls.text_class(text)}
        return {part: sum(p.numel() for p in model.parameters()) for part, model in made.items()}

    def to(self, device: torch.device) -> Self:
        self.vae.to(device)
        self.text_encoder.to(device)
        return self

    def rest_text(self) -> None:
        """T5 to the CPU, where it still answers: with cached prompts a step has no use for its 9.5 GB."""
        self.text_encoder.to("cpu")

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
        embeddings: Tensor = self.text_encoder(input_ids.to(self.text_encoder.device))[0]
        return embeddings.to(input_ids.device)

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


def _unit(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1.0


def identity(name_or_path: str, part: Part, revision: str | None) -> str:
    """What a cached encoding depends on: digest of a local folder's files, or hub name and revision."""
    folder = Path(name_or_path) / part
    if not folder.is_dir():
        if revision is None:
            raise UserError("a cache needs a fixed model: set model.revision to the commit of the hub's model")
        return f"{name_or_path}@{revision}/{part}"
    digests = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors"}):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
