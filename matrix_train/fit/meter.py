"""What a step costs: seconds, wait for data, shares of the device's matrix rate, peak memory.

MFU counts what the step needs, HFU also what checkpointing forms again; encoders count in both.
"""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from matrix_train.config import DTYPES, Config
from matrix_train.plan.cost import step_cost
from matrix_train.plan.flops import matmul_rate, wait_for


class Meter:
    """A clock that runs from `begin` to `pause` over as many steps as lie between.

    A GPU works long after a step's Python has returned, so a clock that stopped at the end of each step would miss most
    of it, and one that waited for the device there would slow the run down.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.device = device
        self.cost = step_cost(config)
        self.rate = matmul_rate(device, DTYPES[config.model.precision])
        self.spent = 0.0
        """Seconds that the clock ran in all."""
        self._last_saved = time.perf_counter()
        self._began: float | None = None
        self._clear()

    def begin(self) -> None:
        """A step begins; the clock starts where it stands."""
        if self._began is None:
            self._began = time.perf_counter()
        self._steps += 1

    def pause(self) -> None:
        """Waits for the device and stops the clock: what follows is not training."""
        if self._began is not None:
            wait_for(self.device)
            seconds = time.perf_counter() - self._began
            self._seconds += seconds
            self.spent += seconds
            self._began = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch."""
        before = time.perf_counter()
        yield
        self._waited += time.perf_counter() - before

    def read(self) -> dict[str, float]:
        """Means since the last reading. Pauses."""
        self.pause()
        seconds = self._seconds / self._steps
        found = {
            "seconds_per_step": seconds,
            "data_wait": self._waited / self._seconds,
            "mfu": self.cost.useful / seconds / self.rate,
            "hfu": self.cost.done / seconds / self.rate,
            "peak_gb": peak_bytes(self.device) / 1e9,
        }
        self._clear()
        return found

    def line(self, logs: Mapping[str, float], wide: bool = True) -> str:
        """For the terminal; not `wide`: of the losses their sum alone."""
        shown = ("loss", "diffusion", "sga", "spa") if wide else ("loss",)
        losses = " ".join(f"{name} {logs[name]:.4f}" for name in shown if name in logs)
        return (
            f"{losses} · {logs['seconds_per_step']:.2f} s/step · wait {logs['data_wait']:.0%} · "
            f"MFU {logs['mfu']:.0%} · {logs['peak_gb']:.1f} GB"
        )

    def saved(self) -> None:
        """A checkpoint was written now."""
        self._last_saved = time.perf_counter()

    def since_saved(self) -> float:
        """Seconds since the last checkpoint, or the start."""
        return time.perf_counter() - self._last_saved

    def _clear(self) -> None:
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0


def peak_bytes(device: torch.device) -> int:
    """Most memory in use so far: of the device where it is a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
