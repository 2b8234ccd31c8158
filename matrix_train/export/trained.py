"""What a checkpoint of a run holds by way of weights: LoRA, input projection and decoders, and nothing else.

trained = read_trained(latest_checkpoint(Path("runs/a")))
trained.lora()          # {"<block>.attn1.to_q.lora_A.weight": …}, α/r folded into lora_B
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from matrix_train.errors import UserError
from matrix_train.files import file_sha256
from matrix_train.fit.checkpoint import TRAINABLE_FILE


@dataclass(frozen=True)
class Trained:
    """`tensors` by the names of `backbones.trainable_parameters`, float32, on the CPU."""

    path: Path
    tensors: dict[str, Tensor]
    rank: int
    alpha: int
    blocks: tuple[int, ...]
    backbone: str
    sha256: str

    def lora(self) -> dict[str, Tensor]:
        """`<module>.lora_A.weight` [r, in] and `<module>.lora_B.weight` [out, r], to be used at strength 1.

        α/r is in lora_B: ΔW = lora_B lora_A is the update that training applied, α/r · B A.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in self._of_backbone().items():
            if ".lora_A." in name or ".lora_B." in name:
                scale = self.alpha / self.rank if ".lora_B." in name else 1.0
                found[name.replace(".default.", ".")] = tensor * scale
        return found

    def projection(self) -> dict[str, Tensor]:
        """Weight and bias, if any, of the grown input layer, by the model's names."""
        return {name: tensor for name, tensor in self._of_backbone().items() if ".lora_" not in name}

    def _of_backbone(self) -> dict[str, Tensor]:
        return {n.removeprefix("backbone."): t for n, t in self.tensors.items() if n.startswith("backbone.")}


def latest_checkpoint(run: Path) -> Path:
    """`<run>/checkpoints/step-*` with the highest step. UserError where there is none."""
    steps = {
        int(match[1]): folder
        for folder in (run / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", folder.name)) and (folder / TRAINABLE_FILE).is_file()
    }
    if not steps:
        raise UserError(f"{run} has no checkpoint: {run / 'checkpoints'} holds no step-*/{TRAINABLE_FILE}")
    return steps[max(steps)]


def find_checkpoint(run: Path, wanted: Path | None) -> Path:
    """A run's checkpoint by path or by its folder's name; the newest where none is wanted. UserError."""
    if wanted is None:
        return latest_checkpoint(run)
    own = run / "checkpoints" / wanted.name
    if own.exists() and (wanted.parent == Path() or (wanted.exists() and wanted.samefile(own))):
        return own
    raise UserError(f"{wanted} is not a checkpoint of {run}: give the name of a folder in {run / 'checkpoints'}")


def read_trained(checkpoint: Path) -> Trained:
    """The weights of one `step-*` folder. UserError for a file that is missing, damaged or not a trainer's."""
    file = checkpoint / TRAINABLE_FILE
    with open_safetensors(file) as opened:
        metadata: dict[str, str] = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    try:
        rank, alpha, blocks = (json.loads(metadata[key]) for key in ("rank", "alpha", "blocks"))
        backbone = metadata["backbone"]
    except (KeyError, ValueError):
        raise UserError(
            f"{file}: not a checkpoint of matrix_train: no rank, alpha, blocks and backbone in its metadata"
        ) from None
    return Trained(file, tensors, rank, alpha, tuple(blocks), backbone, file_sha256(file))


@contextmanager
def open_safetensors(file: Path) -> Iterator[Any]:
    """`safe_open` whose errors are one line for the user."""
    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except FileNotFoundError:
        raise UserError(f"{file} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: not a readable safetensors file: {str(error).splitlines()[0]}") from None
