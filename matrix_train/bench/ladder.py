"""Which technique gives what: seconds of a step, one switch a rung (`matrix_train bench --ladder`, for a GPU).

for rung in climb(BenchOptions()):
    print(rung)
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from matrix_train.bench.run import one_thread, timed_step
from matrix_train.bench.workload import BenchOptions, Workload, host_clock, step_flops
from matrix_train.flops import matmul_rate

RUNGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("every block formed again", {"checkpointing": "full"}),
    ("+ attention outputs kept", {"checkpointing": "selective"}),
    ("+ blocks without taps compiled", {"checkpointing": "selective", "compiled": True}),
    ("+ cuDNN's attention kernel", {"checkpointing": "selective", "compiled": True, "kernel": "cudnn"}),
    ("all activations kept", {"checkpointing": "none"}),
    ("all activations kept, compiled", {"checkpointing": "none", "compiled": True}),
)


@dataclass(frozen=True)
class Rung:
    """One rung with alignment on. `seconds` and what follows are None where `note` says why."""

    name: str
    switches: dict[str, Any]
    seconds: float | None
    peak_bytes: int | None
    flops_per_step: int
    rate_share: float | None
    """FLOPs, recomputed ones included, over seconds over the device's plain matrix rate."""
    note: str = ""


def climb(options: BenchOptions) -> Iterator[Rung]:
    """Rung by rung, each with a model of its own. A rung that does not fit or does not run says so; the rest go on."""
    options = options.resolved()
    device = torch.device(options.device)
    with one_thread(options.device):
        rate = matmul_rate(device, torch.float32 if device.type == "cpu" else torch.bfloat16, host_clock(device))
    for name, switches in RUNGS:
        setting = replace(options, **switches)
        _, flops = step_flops(setting)
        try:
            with one_thread(options.device):
                seconds, peak = _measure(setting)
        except torch.OutOfMemoryError:
            yield Rung(name, switches, None, None, flops, None, "does not fit in memory")
        except RuntimeError as error:
            yield Rung(name, switches, None, None, flops, None, f"does not run: {str(error).splitlines()[0]}")
        else:
            yield Rung(name, switches, seconds, peak, flops, flops / seconds / rate)
        _clear(device)


def _measure(options: BenchOptions) -> tuple[float, int | None]:
    """Median seconds after two steps of warming up (compilation is in the first), and peak bytes on CUDA."""
    work = Workload(options)
    for _ in range(2):
        work.step("on")
    cuda = options.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = median(timed_step(work, "on") for _ in range(options.rounds or 1))
    return seconds, torch.cuda.max_memory_allocated() if cuda else None


def _clear(device: torch.device) -> None:
    """Leaves the next rung the whole memory."""
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
