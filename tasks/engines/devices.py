"""Where a torch model runs, in which precision, and what happens when the device's memory does not hold a batch."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from tasks.engines.options import Precision
from tasks.errors import InfrastructureError, UserError

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(wanted: str, engine: str) -> torch.device:
    """`auto` is CUDA where there is a GPU, else the CPU; also `cpu`, `cuda:1`, `mps`. UserError for none there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"{engine}: device {wanted!r}: use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"{engine}: device {wanted!r} was asked for, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs: check the driver (nvidia-smi), or set device: auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            f"{engine}: device 'mps' was asked for, but this is no Mac with a GPU of its own: set auto or cpu"
        )
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"{engine}: device {wanted!r}: use auto, cpu, cuda, cuda:N or mps")
    return device


def pick_dtype(wanted: Precision, device: torch.device) -> torch.dtype:
    """`auto` is bf16 on a GPU and fp32 on a CPU, where half precision is slower and no memory is short."""
    if wanted == "auto":
        return torch.bfloat16 if device.type != "cpu" else torch.float32
    return _DTYPES[wanted]


def in_parts(items: Sequence[T], run: Callable[[Sequence[T]], list[R]], size: int, what: str) -> list[R]:
    """`run` over `items`, at most `size` at once; where CUDA's memory does not hold that, half as many, and so on.

    Every halving is said in the log. InfrastructureError where even one item does not fit.
    """
    done: list[R] = []
    at = 0
    while at < len(items):
        part = items[at : at + size]
        try:
            done += run(part)
            at += len(part)
            continue
        except torch.cuda.OutOfMemoryError as error:
            if len(part) == 1:
                raise InfrastructureError(
                    f"{what}: CUDA out of memory with a single item: free the GPU or take a larger one"
                ) from error
        # Outside the handler: the traceback of the error keeps the failed batch's tensors alive.
        torch.cuda.empty_cache()
        size = max(1, len(part) // 2)
        log.warning("%s: CUDA out of memory with %d at once, going on with %d", what, len(part), size)
    return done
