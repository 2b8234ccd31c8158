"""Steps of the trainer's own workload: losses off and on, the ladder, compiled blocks, kinds of map."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.parts import Figures, Size
from matrix_train.attention.maps import Mode
from matrix_train.bench import BenchOptions, climb
from matrix_train.bench.ladder import RUNGS
from matrix_train.bench.run import one_thread, timed_rounds, timed_step
from matrix_train.bench.workload import Arm, Workload, host_clock, step_flops
from matrix_train.plan.flops import matmul_rate

WAYS: tuple[dict[str, Any], ...] = (
    {"compiled": False},
    {"compiled": True},
)
"""Last the recipe's."""
MODES: tuple[Mode, ...] = ("centred", "logits", "softmax")


def options_of(size: Size) -> BenchOptions:
    """The recipe's own settings: on CUDA the whole 5B at 49 × 480 × 720, latents at hand."""
    if size == "full":
        return BenchOptions(dense=False, rounds=1, compiled=False).resolved()
    return BenchOptions(dense=False, rounds=1, frames=5, height=32, width=48, blocks=4, heads=1).resolved()


def step(size: Size) -> Iterator[Figures]:
    """With alignment and without, as each way runs them; the model is built once.

    The recipe's own way is the last. `first_seconds` of a way are those of its first step with alignment.
    """
    options = options_of(size)
    device = torch.device(options.device)
    with one_thread(options.device):
        work = Workload(options)
        rate = matmul_rate(device, work.inputs.clean.dtype, host_clock(device))
        yield {"tokens": work.tokens, "first_step": timed_step(work, "on"), "matrix_tflops": rate / 1e12}
        for way in WAYS if size == "full" else WAYS[:1]:
            if way["compiled"]:
                work.backbone.compile_blocks()
            work.options = replace(options, **way)
            first = timed_step(work, "on")
            yield from (
                {**way, "first_seconds": first, **figures} for figures in _rounds(work, rate, 1 + way["compiled"])
            )


def _rounds(work: Workload, rate: float, count: int) -> Iterator[Figures]:
    """The figures of all rounds so far, round by round."""
    options = work.options
    useful, done = (step_flops(replace(options, checkpointing=kind))[1] for kind in ("none", options.checkpointing))
    seconds: dict[Arm, list[float]] = {"off": [], "on": []}
    peaks: dict[Arm, int] = {}
    for _ in range(count):
        for arm, found in timed_rounds(work, options, peaks).items():
            if arm in seconds:
                seconds[arm] += found
        on, off = (median(seconds[arm]) for arm in ("on", "off"))
        yield {
            "rounds": len(seconds["on"]), "seconds_on": on, "seconds_off": off,
            "time_overhead": min(seconds["on"]) / min(seconds["off"]) - 1,
            **({} if not peaks else {
                "peak_gib": peaks["on"] / 2**30, "peak_overhead_gib": (peaks["on"] - peaks["off"]) / 2**30,
            }),
            "mfu": useful / on / rate, "hfu": done / on / rate, "tflop": useful / 1e12, "tflop_done": done / 1e12,
        }  # fmt: skip


def ladder(size: Size) -> Iterator[Figures]:
    """The rungs that need no compiler."""
    yield from _climb(size, compiled=False)


def compiled(size: Size) -> Iterator[Figures]:
    """The rungs that do: the compiler's own seconds are in the first step's."""
    yield from _climb(size, compiled=True)


def _climb(size: Size, compiled: bool) -> Iterator[Figures]:
    chosen = [n for n, (_, switches) in enumerate(RUNGS, start=1) if switches.get("compiled", False) == compiled]
    if size == "toy" and compiled:
        chosen = chosen[:1]  # the compiler takes its half minute whatever the size
    for rung in climb(replace(options_of(size), rounds=2 if size == "full" else 1), chosen):
        yield asdict(rung)


def maps(size: Size) -> Iterator[Figures]:
    """What each kind of map adds to a step: three tapped blocks among six, at full width and length.

    `added` are seconds of a step, whatever the number of blocks without taps.
    """
    options = options_of(size)
    for mode in MODES:
        chosen = replace(options, mode=mode, blocks=6 if size == "full" else 3, rounds=3 if size == "full" else 1)
        peaks: dict[Arm, int] = {}
        with one_thread(options.device):
            work = Workload(chosen)
            work.step("on")
            seconds = timed_rounds(work, chosen, peaks)
        figures = {"mode": mode, "seconds_on": median(seconds["on"]), "seconds_off": median(seconds["off"])}
        figures["added"] = min(seconds["on"]) - min(seconds["off"])
        if peaks:
            figures["peak_overhead_gib"] = (peaks["on"] - peaks["off"]) / 2**30
        yield figures
        del work
