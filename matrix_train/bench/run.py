"""Rounds of the measured step, arm by arm, and what follows from them.

result = bench(BenchOptions())
print(describe(result)); print(json.dumps(asdict(result)))
"""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from matrix_train.align.decoder import STRIDES
from matrix_train.align.losses import LossWeights, alignment_loss
from matrix_train.attention.roles import Family
from matrix_train.bench.tensors import largest_of_attention, largest_of_blocks
from matrix_train.bench.workload import Arm, BenchOptions, Workload, encoding_flops, host_clock, step_flops
from matrix_train.errors import UserError
from matrix_train.plan.flops import matmul_rate

DENSE_ROUNDS = 2


@dataclass(frozen=True)
class BenchResult:
    """One run. Overheads are shares of the step without alignment: 0.01 is one percent. Seconds: see `clock`."""

    device: str
    clock: str
    """Wall time on CUDA. On the CPU, CPU time of one thread: what else runs there does not count."""
    mode: str
    supervise_stride: int
    checkpointing: str
    blocks: int
    tapped_blocks: int
    heads: int
    n_tokens: int
    rounds: int
    seconds_per_step: float
    """With alignment, median."""
    seconds_off: float
    time_overhead: float
    """Least on over least off, minus 1: what else runs on the machine only ever adds."""
    time_noise: float
    """The same of the `off` steps before and after each on: what the same work gives when it is measured twice."""
    dense_time_overhead: float | None
    peak_bytes: int
    """With alignment."""
    peak_overhead_bytes: int
    dense_peak_overhead_bytes: int | None
    flops_per_step: int
    """With alignment, recomputation counted."""
    flops_overhead: float
    """Of the whole released model at its recipe's clip, on the meta device."""
    flops_overhead_measured: float
    """Of the model that was measured."""
    encoding_flops: dict[str, int]
    """VAE and text encoder of the released model's step beside the transformer, which is all that is timed: with
    `train.cache` what changes at every step, without it everything."""
    largest_tensor_elements: int
    """Made by one tapped attention, forward and backward, its own output included."""
    largest_block_tensor_elements: int
    n_squared: int
    alignment_seconds: dict[str, float]
    """Decoders and losses alone, forward and backward, by stride: it does not depend on the model's size."""
    matmul_flops_per_second: float
    mfu: float
    """FLOPs that a step needs over seconds over the plain matrix rate of this device, measured in this run."""
    hfu: float
    """The same with what checkpointing forms again."""


def bench(options: BenchOptions) -> BenchResult:
    """Measures. Minutes on a CPU. UserError for a device that is not there."""
    options = options.resolved()
    with one_thread(options.device):
        return _bench(options)


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """On the CPU. Two threads on two busy cores wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bench(options: BenchOptions) -> BenchResult:
    arms: tuple[Arm, ...] = ("off", "on", "dense") if options.dense else ("off", "on")
    peaks = _peaks_in_children(options, arms) if options.device == "cpu" else {}
    work = Workload(options)
    work.step("on")  # makes AdamW's moments of all parameters, and warms up
    seconds = timed_rounds(work, options, peaks)
    on = seconds["on"]
    before, after = seconds["off"][0::2], seconds["off"][1::2]
    small, whole = (step_flops(o) for o in (options, options.whole))
    rate = matmul_rate(work.device, work.inputs.clean.dtype, host_clock(work.device))
    return BenchResult(
        device=torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        clock="wall" if options.device == "cuda" else "cpu time, 1 thread",
        mode=options.mode,
        supervise_stride=options.supervise_stride,
        checkpointing=options.checkpointing,
        blocks=options.blocks or 0,
        tapped_blocks=len(options.align.sga_blocks) + len(options.align.spa_blocks),
        heads=options.heads or 0,
        n_tokens=work.tokens,
        rounds=len(on),
        seconds_per_step=median(on),
        seconds_off=median(seconds["off"]),
        time_overhead=min(on) / min(seconds["off"]) - 1,
        time_noise=abs(min(after) / min(before) - 1),
        dense_time_overhead=min(seconds["dense"]) / min(seconds["off"]) - 1 if seconds["dense"] else None,
        peak_bytes=peaks["on"],
        peak_overhead_bytes=peaks["on"] - peaks["off"],
        dense_peak_overhead_bytes=peaks["dense"] - peaks["off"] if "dense" in peaks else None,
        flops_per_step=small[1],
        flops_overhead=whole[1] / whole[0] - 1,
        flops_overhead_measured=small[1] / small[0] - 1,
        encoding_flops=encoding_flops(options),
        largest_tensor_elements=largest_of_attention(work),
        largest_block_tensor_elements=largest_of_blocks(work),
        n_squared=work.tokens**2,
        alignment_seconds={str(stride): _alignment_seconds(work, stride) for stride in STRIDES},
        matmul_flops_per_second=rate,
        mfu=step_flops(replace(options, checkpointing="none"))[1] / median(on) / rate,
        hfu=small[1] / median(on) / rate,
    )


def timed_step(work: Workload, arm: Arm) -> float:
    """Seconds of one step."""
    began = work.clock()
    work.step(arm)
    return work.clock() - began


def timed_rounds(work: Workload, options: BenchOptions, peaks: dict[Arm, int]) -> dict[Arm, list[float]]:
    """Seconds by arm, after a step with alignment. A round is off, on, off, and in the first rounds dense. On CUDA
    fills in `peaks`."""
    seconds: dict[Arm, list[float]] = {"off": [], "on": [], "dense": []}
    for index in range(options.rounds or 1):
        arms: list[Arm] = ["off", "on", "off"]
        if options.dense and index < DENSE_ROUNDS:
            arms.append("dense")
        for arm in arms:
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds[arm].append(timed_step(work, arm))
            if options.device == "cuda":
                peaks[arm] = max(peaks.get(arm, 0), torch.cuda.max_memory_allocated())
    return seconds


def _alignment_seconds(work: Workload, stride: int) -> float:
    """Decoders and losses of the tapped blocks on random maps, forward and backward, the second of two."""
    grid, model = work.grid, work.models["on"]
    decoders: Any = model.decoders
    maps: dict[Family, list[torch.Tensor]] = {
        family: [torch.randn(1, 3, grid.frames, grid.height, grid.width, device=work.device) for _ in blocks]
        for family, blocks in work.options.align.tapped.items()
    }
    leaves = [m.requires_grad_() for blocks in maps.values() for m in blocks]
    masks, seconds = work.masks(stride), 0.0
    for _ in range(2):
        began = work.clock()
        found = alignment_loss(maps, decoders, masks, work.inputs.present, LossWeights(), stride)
        torch.autograd.grad(found.total, leaves)
        seconds = work.clock() - began
    return seconds


def _peaks_in_children(options: BenchOptions, arms: Sequence[Arm]) -> dict[Arm, int]:
    """By arm, most memory that a process of its own held while it built the model and made one step, in bytes."""
    # Large blocks go back to the system at once, so that the peak is of what is held and not of what was.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
    code = "import sys; from matrix_train.bench.run import print_peaks; print_peaks(sys.argv[1], sys.argv[2:])"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asdict(options)), *arms],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip() or "killed, for want of memory it may be").splitlines()[-1]
        arm = arms[len(done.stdout.split())]
        raise UserError(f"bench: the process that measures memory of arm {arm!r} ended with {done.returncode}: {last}")
    return dict(zip(arms, map(int, done.stdout.split()), strict=True))


def print_peaks(options: str, arms: Sequence[Arm]) -> None:
    """In the child: prints for each arm the VmHWM of a fork after a step. The ten seconds of imports are paid once.

    A fork's VmHWM starts with what its parent holds at that moment; ru_maxrss would start with its most.
    """
    torch.set_num_threads(1)
    for arm in arms:
        process = multiprocessing.get_context("fork").Process(target=_print_peak, args=(options, arm))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)


def _print_peak(options: str, arm: Arm) -> None:
    work = Workload(BenchOptions(**json.loads(options)))
    work.step(arm)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(status.partition("VmHWM:")[2].split()[0]) * 1024, flush=True)


def describe(result: BenchResult) -> str:
    """The figures as a few lines for people."""
    dense_time, dense_peak = result.dense_time_overhead, result.dense_peak_overhead_bytes
    lines = [
        f"{result.device}: {result.n_tokens} tokens, {result.blocks} blocks of which {result.tapped_blocks} tapped, "
        f"{result.heads} heads, {result.mode}, stride {result.supervise_stride}, checkpointing {result.checkpointing}",
        f"step          {result.seconds_per_step:8.3f} s with alignment, {result.seconds_off:.3f} s without",
        f"time          {result.time_overhead:+8.2%}   bar +2 %; the same step measured twice: {result.time_noise:.2%}",
        f"peak memory   {result.peak_overhead_bytes / 2**30:+8.3f} GiB on {result.peak_bytes / 2**30:.2f}; bar +0.5",
        f"FLOPs         {result.flops_overhead:+8.4%}   at 5B, bar +1 %; {result.flops_overhead_measured:+.3%} here",
        "encoding      "
        + ", ".join(f"{n / 1e12:.1f} TFLOP {how.replace('_', ' ')}" for how, n in result.encoding_flops.items())
        + ", at 5B; not in the times here",
        f"largest tensor {result.largest_tensor_elements:,} of one tapped attention, "
        f"{result.largest_block_tensor_elements:,} of the block; N²/8 is {result.n_squared // 8:,}",
        f"MFU, HFU      {result.mfu:8.1%}, {result.hfu:.1%} of {result.matmul_flops_per_second / 1e12:.2f} TFLOP/s",
        "alignment alone, by stride: " + ", ".join(f"{k}: {v:.3f} s" for k, v in result.alignment_seconds.items()),
    ]
    if dense_time is not None and dense_peak is not None:
        lines.insert(4, f"dense         {dense_time:+8.1%} time, {dense_peak / 2**30:+.2f} GiB (authors: +27 % time)")
    return "\n".join(lines)
