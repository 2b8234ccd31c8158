"""One process, DDP or FSDP, by accelerate; and the trainable state of any of them as plain tensors by name."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from matrix_train.config import Config
from matrix_train.errors import UserError
from matrix_train.fit.checkpoint import Checkpoint, State, write_checkpoint

_OPTIONS = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)

_WRAPPED = re.compile(r"\b(module|_orig_mod|_fsdp_wrapped_module)\.")

States = tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]
"""Trainable parameters by name, and AdamW's state by parameter name."""


WHERE = ("ACCELERATE_USE_CPU", "ACCELERATE_TORCH_DEVICE", "ACCELERATE_DEBUG_MODE")
"""What accelerate may read from the environment: where a process runs, not what it computes."""


def make_accelerator(config: Config) -> Accelerator:
    """For this process; `accelerate launch` or `torchrun` say how many there are, and nothing else.

    `accelerate launch` hands its user's defaults on as variables, which would scale gradients (accumulation), cast
    (mixed precision), compile or shard on their own. They are taken out of this process's environment.
    """
    for name in [n for n in os.environ if n.startswith(("ACCELERATE_", "FSDP_")) and n not in WHERE]:
        del os.environ[name]
    if config.train.parallel == "fsdp":
        # Blocks are sharded one by one; what is trained is float32 beside frozen bf16, so the original parameters stay.
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", state_dict_type="FULL_STATE_DICT",
        )  # fmt: skip
        return Accelerator(fsdp_plugin=plugin)
    # No batch leaves a trainable parameter without a gradient: an absent role's is zero, but it is there.
    return Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=False)])


@contextmanager
def told_when_left() -> Iterator[None]:
    """Another process that ends, for a mistake that it has said in its own line, as a line too.

    gloo tells of it at once; NCCL waits for its time-out, and torchrun ends everybody before that.
    """
    try:
        yield
    except RuntimeError as error:
        if "closed by peer" not in str(error) and "reset by peer" not in str(error):
            raise
        raise UserError("another process of this run has ended; its own message says why") from None


class AnyProcess:
    """What any of the processes says, known to all of them: they must stop, and save, at the same step.

    Over a group of its own on the CPU, so that no step waits for the GPU to know it.
    """

    def __init__(self, processes: int) -> None:
        self._group: Any = torch.distributed.new_group(backend="gloo") if processes > 1 else None

    def __call__(self, *numbers: int) -> list[int]:
        """The largest of each number. Every process must call it."""
        if self._group is None:
            return list(numbers)
        held = torch.tensor(numbers)
        torch.distributed.all_reduce(held, torch.distributed.ReduceOp.MAX, self._group)
        found: list[int] = held.tolist()
        return found


def gather_states(model: Any, optimizer: Any) -> States:
    """Whole tensors on the CPU. Every process must call it; under FSDP only the first gets them."""
    inner = _optimizer(optimizer)
    parameters: dict[str, Tensor] = get_model_state_dict(model, options=_OPTIONS)  # type: ignore[assignment]
    moments: Any = get_optimizer_state_dict(model, inner, options=_OPTIONS).get("state", {})
    # Without buffers, which come too: learned positions are one in some published models. What wraps a module stands in
    # their names here, and not in those of the parameters.
    buffers = {_WRAPPED.sub("", name) for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in parameters.items() if name not in buffers}, moments


def save_states(
    run: Path,
    config: Config,
    backbone: str,
    state: State,
    parameters: Mapping[str, Tensor],
    moments: Mapping[str, dict[str, Tensor]],
) -> None:
    """A checkpoint; the metadata of `trainable.safetensors` says what an export must know."""
    metadata = {
        "rank": str(config.lora.rank), "alpha": str(config.lora.alpha), "blocks": str(list(config.lora.blocks)),
        "base": config.model.path, "step": str(state.step), "backbone": backbone,
    }  # fmt: skip
    write_checkpoint(run, state, parameters, moments, metadata, config.checkpoint.keep)


def put_parameters(model: Any, values: Mapping[str, Tensor]) -> None:
    """Sets these parameters, sharded or not, by the names of a checkpoint."""
    set_model_state_dict(model, dict(values), options=_OPTIONS)


def restore_states(model: Any, optimizer: Any, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's tensors into place; of several processes the first hands them out.

    UserError where it trains other parameters.
    """
    several = torch.distributed.is_initialized()
    first = not several or torch.distributed.get_rank() == 0
    options = replace(_OPTIONS, broadcast_from_rank0=several)
    inner = _optimizer(optimizer)
    # This also gives the optimiser its moments, which are there to be filled only after a first step.
    current: Any = get_optimizer_state_dict(model, inner, options=_OPTIONS)
    weights: Any = checkpoint.trainable if first else {}
    state: Any = {"state": checkpoint.optimizer, "param_groups": current["param_groups"]} if first else {}
    for held in (weights, checkpoint.optimizer) if first else ():
        differs = sorted(current["state"].keys() ^ held.keys())
        if differs:
            raise UserError(
                f"the checkpoint trains other parameters than this run: {differs[0]} and {len(differs) - 1} more"
            )
    set_model_state_dict(model, weights, options=options)
    set_optimizer_state_dict(model, inner, optim_state_dict=state, options=options)


def _optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """accelerate wraps it."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner
