"""Checkpoints of a run: whole or absent, no pickle, enough to go on as if nothing had happened.

    <run>/checkpoints/step-00000250/
        trainable.safetensors    LoRA, input projection, decoders, by the names of `trainable_parameters`
        optimizer.safetensors    AdamW's moments and step counts, `<state>/<parameter>`
        state.json               step, seconds, counts, and the settings that a resumed run must share

There is no generator to save: what is random in a step is drawn from names and counters (`noise.py`), the learning rate
is a function of the step, and the data's place follows from the step.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from matrix_train.config import Config
from matrix_train.data.loader import StreamState
from matrix_train.errors import UserError
from matrix_train.fit.safe import to_bytes

FOLDER, OPTIMIZER, STATE = "checkpoints", "optimizer.safetensors", "state.json"
TRAINABLE_FILE = "trainable.safetensors"
"""The tensors of `trainable_parameters` by name, float32; `rank`, `alpha` and `blocks` in its metadata as JSON,
and the name of the `backbone`."""
_NAME = re.compile(r"step-([0-9]{8})")

FREE = (
    "log", "checkpoint", "validation", "train.out", "train.cache", "model.checkpointing", "model.swap",
    "data.workers", "data.max_bad_share", "data.dataset", "data.storage_options", "train.precompute",
)  # fmt: skip
"""Settings that may change between a run and its continuation: they do not change what is learnt.

The data set may have moved; that it is the same one is known by its shards (`data.index`)."""


LENGTH = "train.steps"
"""May change too: the run goes on along another curve of the learning rate, which is told."""


class State(BaseModel):
    """`state.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=0)
    seconds: float
    """Time trained so far, over all parts of the run."""
    streams: list[StreamState]
    """Of every process, in the order of their ranks."""
    nonfinite: int = Field(default=0, ge=0)
    """Steps whose gradient was put aside (`guard.py`)."""
    settings: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back."""

    state: State
    trainable: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    """AdamW's state by parameter name."""


def write_checkpoint(
    run: Path,
    state: State,
    trainable: Mapping[str, Tensor],
    optimizer: Mapping[str, Mapping[str, Tensor]],
    metadata: dict[str, str],
    keep: int,
) -> Path:
    """Writes under a temporary name, flushes, renames; then removes all but the newest `keep`.

    UserError where it cannot be written, as on a full disk; what is half written is removed.
    """
    flat = {f"{part}/{name}": value for name, parts in optimizer.items() for part, value in parts.items()}
    contents = {
        TRAINABLE_FILE: to_bytes(trainable, metadata),
        OPTIMIZER: to_bytes(flat, {}),
        STATE: (state.model_dump_json(indent=2) + "\n").encode(),
    }
    folder = run / FOLDER
    target, temporary = folder / f"step-{state.step:08d}", folder / f".step-{state.step:08d}.part"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in contents.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _flush_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)  # half a checkpoint would keep a full disk full
        raise UserError(
            f"cannot write {target}: {error.strerror or error}; checkpoints before it are whole: "
            "mend it and go on with --resume auto"
        ) from None
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(run: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("step-*") if _NAME.fullmatch(path.name))


def read_checkpoint(path: Path) -> Checkpoint:
    """UserError where a file is missing or damaged."""
    try:
        state = State.model_validate_json((path / STATE).read_bytes())
        flat = load_file(path / OPTIMIZER)
        trainable = load_file(path / TRAINABLE_FILE)
    except (OSError, SafetensorError, ValidationError):
        raise UserError(f"checkpoint {path} is damaged: delete it to resume from the one before") from None
    optimizer: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        part, _, name = key.partition("/")
        optimizer.setdefault(name, {})[part] = value
    return Checkpoint(state, trainable, optimizer)


def binding_settings(config: Config) -> dict[str, Any]:
    """The settings that a run and its continuation must share, by dotted name."""
    flat: dict[str, Any] = {}
    # Where a validation may end a family's alignment, its settings are part of what is learnt.
    free = set(FREE) - ({"validation"} if config.align.stop_at is not None else set())

    def walk(prefix: str, node: Any) -> None:
        if prefix in free:
            return
        if isinstance(node, dict):
            for name, value in node.items():
                walk(f"{prefix}.{name}" if prefix else name, value)
        else:
            flat[prefix] = node

    walk("", json.loads(config.model_dump_json()))
    return flat


def check_resumable(state: State, config: Config, world: int) -> None:
    """UserError naming what changed: the continuation would not be the same run."""
    wanted = binding_settings(config)
    if config.train.steps < state.step:
        raise UserError(f"train.steps is {config.train.steps}, but the run stands at step {state.step} already")
    differs = [
        f"{name} was {state.settings.get(name)}, is {wanted.get(name)}"
        for name in sorted(wanted.keys() | state.settings.keys())
        if state.settings.get(name) != wanted.get(name) and name != LENGTH
    ]
    if len(state.streams) != world:
        differs.append(f"it ran with {len(state.streams)} processes, this has {world}")
    if differs:
        raise UserError(f"cannot resume: {'; '.join(differs)}: set it back, or start a run with another train.out")


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
