"""Which technique gives what: seconds of a step, one switch a rung (`matrix_train bench --ladder`, for a GPU).

for rung in climb(BenchOptions(), (1, 2)):
    print(rung)
"""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from matrix_train.bench.run import one_thread, timed_step
from matrix_train.bench.workload import BenchOptions, Workload, host_clock, step_flops
from matrix_train.errors import UserError
from matrix_train.plan.flops import matmul_rate

RUNGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("every block formed again", {"checkpointing": "full"}),
    ("+ attention outputs kept", {"checkpointing": "selective"}),
    ("+ blocks without taps compiled", {"checkpointing": "selective", "compiled": True}),
    ("+ cuDNN's attention kernel", {"checkpointing": "selective", "compiled": True, "attention": "cudnn"}),
    ("all activations kept", {"checkpointing": "none"}),
    ("all activations kept, compiled", {"checkpointing": "none", "compiled": True}),
    ("attention kept, frozen weights in 8 bits", {"checkpointing": "selective", "frozen": "fp8"}),
    ("attention kept, half of the blocks swapped", {"checkpointing": "selective", "swapped": 0.5}),
)

ROUNDS = 3
"""Timed steps of a rung: they differ far more than their steps do."""


@dataclass(frozen=True)
class Rung:
    """One rung with alignment on. What was to be measured is None where `note` says why."""

    name: str
    switches: dict[str, Any]
    flops_per_step: int
    """Recomputed ones included."""
    first_seconds: float | None = None
    """Of its first step: with compiled blocks, the compiler's."""
    seconds: float | None = None
    peak_bytes: int | None = None
    mfu: float | None = None
    """FLOPs that a step needs over seconds over the device's plain matrix rate."""
    hfu: float | None = None
    """The same with what checkpointing forms again."""
    note: str = ""

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.name:42} {self.note}"
        memory = "" if self.peak_bytes is None else f"  {self.peak_bytes / 2**30:6.1f} GiB"
        work = f"{self.flops_per_step / 1e12:8.1f} TFLOP, MFU {self.mfu:6.1%}, HFU {self.hfu:6.1%}"
        return f"{self.name:42} {self.seconds:8.3f} s a step{memory}  {work}"


def climb(options: BenchOptions, chosen: Sequence[int] = ()) -> Iterator[Rung]:
    """Rung by rung, each with a model of its own. A rung that does not fit or does not run says so; the rest go on.

    chosen: numbers of RUNGS from 1 on, all by default: a GPU takes one to three minutes for each. UserError for a
    number that is not there.
    """
    wrong = [number for number in chosen if not 1 <= number <= len(RUNGS)]
    if wrong:
        raise UserError(f"bench: there is no rung {wrong[0]}: give 1 to {len(RUNGS)}")
    options = replace(options, rounds=options.rounds or ROUNDS).resolved()
    device = torch.device(options.device)
    with one_thread(options.device):
        rate = matmul_rate(device, torch.float32 if device.type == "cpu" else torch.bfloat16, host_clock(device))
    for name, switches in [RUNGS[number - 1] for number in chosen] or RUNGS:
        setting = replace(options, **{"compiled": False, **switches})
        flops, needed = step_flops(setting)[1], step_flops(replace(setting, checkpointing="none"))[1]
        try:
            with one_thread(options.device):
                first, seconds, peak = _measure(setting)
        except torch.OutOfMemoryError:
            yield Rung(name, switches, flops, note="does not fit in memory")
        except RuntimeError as error:
            yield Rung(name, switches, flops, note=f"does not run: {str(error).splitlines()[0]}")
        else:
            mfu, hfu = (count / seconds / rate for count in (needed, flops))
            yield Rung(name, switches, flops, first, seconds, peak, mfu, hfu)
        _clear(device)


def _measure(options: BenchOptions) -> tuple[float, float, int | None]:
    """Seconds of the first step and the median of those after the second, and peak bytes on CUDA."""
    work = Workload(options)
    first = timed_step(work, "on")
    work.step("on")
    cuda = options.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = median(timed_step(work, "on") for _ in range(options.rounds or 1))
    return first, seconds, torch.cuda.max_memory_allocated() if cuda else None


def _clear(device: torch.device) -> None:
    """Leaves the next rung the whole memory."""
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
