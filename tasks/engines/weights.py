"""Weights from files nobody vouches for: read without running code, damage said in one line, identity by content."""

import hashlib
import json
import pickle
import warnings
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tasks.errors import UserError

Weights = dict[str, torch.Tensor]

_NESTED = ("model", "state_dict", "model_state_dict")
_IN_EVERY_REPOSITORY = ("config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt")


def load_weights(path: Path, what: str) -> Weights:
    """Tensors by name from `.safetensors`, or from `.pt`, `.pth`, `.bin` read with `weights_only`: no code is run.

    A checkpoint that wraps its tensors as {"model": …} is unwrapped. UserError says what is wrong with the file.
    """
    if not path.is_file():
        raise UserError(f"{what}: no weights at {path}: download the checkpoint, or correct the path in the profile")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # A foreign pickle is refused below, in one line.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{what}: {path} holds pickled objects that could run code, or is damaged: use a .safetensors file, "
            "or a checkpoint of plain tensors"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{what}: {path} cannot be read, download it again: {_line(error)}") from None
    for key in _NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(f"{what}: {path} holds no table of tensors: is it a checkpoint of this model?")
    return found


def fit_weights(model: torch.nn.Module, weights: Weights, what: str, ignore: tuple[str, ...] = ()) -> None:
    """Put `weights` into `model`: every parameter must come from the file, and every tensor of the file must go in.

    ignore: prefixes of names that either side may lack (buffers that other versions did or did not save). UserError
    otherwise: a model with a single random layer gives confident nonsense.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in weights and not k.startswith(ignore)]
    unknown = [k for k in weights if k not in own and not k.startswith(ignore)]
    other = [k for k in own if k in weights and own[k].shape != weights[k].shape]
    if missing or unknown or other:
        first = next(iter([*other, *missing, *unknown]))
        raise UserError(
            f"{what}: the checkpoint is of another architecture: {len(missing)} tensors are missing, {len(unknown)} "
            f"unknown, {len(other)} of another shape, first {first!r}: name the configuration that goes with it"
        )
    model.load_state_dict({k: v for k, v in weights.items() if k in own}, strict=False)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a model folder. UserError where it is absent or no such thing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what}: {path.parent} has no {path.name}: it is no model folder") from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{what}: {path} cannot be read: {_line(error)}") from None
    if not isinstance(found, dict):
        raise UserError(f"{what}: {path} is no JSON object")
    return found


def local_folder(name: str, what: str) -> Path | None:
    """The folder of that name, or None for what can only be a hub name. UserError for a path where nothing is."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{what}: {name} is a file: name the folder it lies in")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name:
        raise UserError(f"{what}: there is no folder {name}: correct the path in the profile")
    return None


def digest_of(*paths: Path) -> str:
    """12 hex digits over the content of files, the identity of local weights. The paths themselves do not count."""
    whole = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        whole.update(_digest(path, stat.st_size, stat.st_mtime_ns))
    return whole.hexdigest()[:12]


def hub_commit(name: str, revision: str | None) -> str:
    """The commit, 12 hex digits, that a name on the hub stood for when it was loaded. Asks the cache, not the hub."""
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(name, file, revision=revision) for file in _IN_EVERY_REPOSITORY)
    return next(Path(path).parent.name for path in cached if isinstance(path, str))[:12]


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> bytes:  # noqa: ARG001 both tell a changed file from the same one
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
