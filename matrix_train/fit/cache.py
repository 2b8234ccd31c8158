"""Video latents and text embeddings, encoded once: `fit --precompute` writes them, `train.cache` reads them.

    <cache>/cache.json               what every entry depends on (`CacheKey`)
    <cache>/empty.safetensors        text embeddings of the empty caption
    <cache>/<clip_id>.safetensors    what `Encoders.encode` made; digests of what it was made from in the header

A cache made under another VAE, text encoder or geometry is refused with the name of what differs; so is an entry whose
caption, ID map or video has changed. Where a model's first frame gets fresh noise before the VAE at every
step, it stays out.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from matrix_train.data import Batch
from matrix_train.errors import UserError
from matrix_train.files import write_whole
from matrix_train.fit.noise import send
from matrix_train.fit.safe import to_bytes
from schemas.labels import Said
from schemas.settings import Settings

CACHE_FILE, EMPTY_FILE = "cache.json", "empty.safetensors"


class CacheKey(Settings):
    """Named parts of what the entries depend on."""

    networks: dict[str, str]
    """VAE, text encoder and what else makes the entries."""
    precision: str
    frames: int
    frame_step: int
    height: int
    width: int
    max_tokens: int
    prompt: str


class LatentCache:
    """See the module."""

    def __init__(self, folder: Path, key: CacheKey) -> None:
        """Opens a cache that `create` made. UserError where there is none, or it was made for something else."""
        self.folder = folder
        self._empty: Tensor | None = None
        try:
            found = CacheKey.model_validate_json((folder / CACHE_FILE).read_bytes())
        except FileNotFoundError:
            raise UserError(f"no cache in {folder}: make it with `matrix_train fit CONFIG --precompute`") from None
        except (ValidationError, OSError):
            raise UserError(f"{folder / CACHE_FILE} is damaged: delete the cache and precompute again") from None
        before, now = (k.model_dump(exclude={"networks"}) | k.networks for k in (found, key))
        differs = [
            f"{name} was {before.get(name)}, is {now.get(name)}"
            for name in before | now
            if before.get(name) != now.get(name)
        ]
        if differs:
            raise UserError(f"cache {folder} is stale: {'; '.join(differs)}: precompute into another folder")

    @classmethod
    def create(cls, folder: Path, key: CacheKey) -> "LatentCache":
        """Makes the folder, or opens the one that is there, to go on with it."""
        if not (folder / CACHE_FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CACHE_FILE, (key.model_dump_json(indent=2) + "\n").encode())
        return cls(folder, key)

    def holds(self, name: str, expected: dict[str, str]) -> bool:
        """Whether a whole entry is there, made from what `expected` names of `sources`."""
        try:
            opened: Any = safe_open(self._path(name), framework="pt")
            with opened as file:
                made_from = file.metadata() or {}
        except (FileNotFoundError, SafetensorError):
            return False
        return all(made_from.get(what, "") == value for what, value in expected.items())

    def write(self, name: str, tensors: dict[str, Tensor], sources: dict[str, str]) -> None:
        """One clip's tensors without the batch axis; the file appears whole or not at all. sources: see `sources`."""
        write_whole(self._path(name), to_bytes(tensors, sources))

    def read(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Stacked over the batch, as `Encoders.encode` gives it.

        UserError for a clip that is not in the cache, or was made from something else than the batch holds.
        """
        entries = [self._read(name, sources(batch, i)) for i, name in enumerate(batch.keys)]
        return {part: send(torch.stack([e[part] for e in entries]), device) for part in entries[0]}

    def empty(self, device: torch.device) -> Tensor:
        """Text embeddings [1, L, width] of the empty caption."""
        if self._empty is None:
            self._empty = self._read("empty", {})["prompt"].to(device)[None]
        return self._empty

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _read(self, name: str, expected: dict[str, str]) -> dict[str, Tensor]:
        try:
            opened: Any = safe_open(self._path(name), framework="pt")
            with opened as file:
                made_from = file.metadata() or {}
                tensors = {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118  (not a dict)
        except FileNotFoundError:
            raise UserError(f"cache {self.folder} lacks clip {name}: run `fit --precompute` to its end") from None
        except SafetensorError:
            raise UserError(f"{self._path(name)} is damaged: delete the file and precompute again") from None
        differs = ", ".join(what for what, value in expected.items() if made_from.get(what) != value)
        if differs:
            raise UserError(
                f"{self._path(name)} is stale: the clip has another {differs}: delete the file and precompute again"
            )
        return tensors


def sources(batch: Batch, i: int) -> dict[str, str]:
    """Digests of what the i-th sample's entry is made from, by name."""
    found = {"caption": _digest(batch.captions[i].encode()), "video": batch.media[i][:16]}
    if batch.prompts[i] != batch.captions[i]:
        found["prompt"] = _digest(batch.prompts[i].encode())
    return found | {"id_map": _digest(batch.id_map[i].cpu().numpy().tobytes())}


def listed_sources(caption: str, media_digest: str, said: Said) -> dict[str, str]:
    """What is known of them without opening a shard. said: people's labels, on which ID map and prompt depend."""
    told = "".join(label.model_dump_json(exclude={"reason", "detail", "by", "at"}) for label in said)
    labels = _digest(told.encode()) if said else ""
    return {"caption": _digest(caption.encode()), "video": media_digest[:16], "labels": labels}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
