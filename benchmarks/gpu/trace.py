"""Where a step's time goes: its kernels by time, as PyTorch's profiler sees them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.parts import Figures, Size
from matrix_train.bench.run import one_thread

TOP = 15


def trace(size: Size) -> Iterator[Figures]:
    """One step with alignment, after one that warms up."""
    from benchmarks.gpu.steps import options_of
    from matrix_train.bench.workload import Workload

    options = options_of(size)
    with one_thread(options.device):
        work = Workload(options)
        work.step("on")
        yield top_kernels(lambda: work.step("on"), TOP)


def top_kernels(run: Callable[[], None], count: int) -> dict[str, Any]:
    """Wall seconds, seconds of all kernels, launches, and the kernels that take most. On a CPU operators instead."""
    cuda = torch.cuda.is_available()
    # Of one kind alone: sorting a step's hundred thousand operators took longer than anyone lent an H100 for.
    activities = [ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]
    began = time.perf_counter()
    with profile(activities=activities) as held:
        run()
        if cuda:
            torch.cuda.synchronize()
    wall = time.perf_counter() - began
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    events = [event for event in held.key_averages() if event.device_type == kind]
    seconds = {id(e): (e.self_device_time_total if cuda else e.self_cpu_time_total) / 1e6 for e in events}
    events.sort(key=lambda event: -seconds[id(event)])
    return {
        "wall_seconds": wall, "kernel_seconds": sum(seconds.values()), "launches": sum(e.count for e in events),
        "top": [{"name": e.key[:120], "seconds": seconds[id(e)], "calls": e.count} for e in events[:count]],
    }  # fmt: skip
