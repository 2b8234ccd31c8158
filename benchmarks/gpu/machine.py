"""What ran: device, versions, and the two ceilings of this device that every other figure is held against."""

import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu.parts import Figures, Size
from matrix_train.plan.flops import matmul_rate, wait_for

PACKAGES = ("torch", "torchvision", "transformers", "diffusers", "peft", "accelerate", "sam2", "groundingdino-py")


def machine(size: Size) -> Iterator[Figures]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield {
        "python": platform.python_version(), "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(), "packages": {name: _version(name) for name in PACKAGES},
    }  # fmt: skip
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        yield {"device": found.name, "memory_gib": found.total_memory / 2**30, "sms": found.multi_processor_count}
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    yield {"matrix_tflops": matmul_rate(device, dtype) / 1e12, "copy_gb_per_s": _copy_rate(device, size) / 1e9}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _copy_rate(device: torch.device, size: Size) -> float:
    """Bytes read and written a second, the best of five copies."""
    one = torch.empty(2**32 if size == "full" else 2**22, dtype=torch.uint8, device=device)
    other = torch.empty_like(one)
    seconds = []
    for _ in range(5):
        wait_for(device)
        began = time.perf_counter()
        other.copy_(one)
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return 2 * one.nbytes / min(seconds)
