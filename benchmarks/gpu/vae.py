"""The VAE as the trainer runs it, with channels innermost, and with kernels chosen by the clock."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX

from benchmarks.gpu.parts import Figures, Size
from matrix_train.backbones import CogVideoX
from matrix_train.backbones.encoders import Encoders
from matrix_train.fit.numerics import make_deterministic
from matrix_train.plan.flops import count_flops, wait_for

# diffusers is typed in part only.
_vae_class: Any = AutoencoderKLCogVideoX

TOY = {"block_out_channels": (8, 8, 8, 16), "layers_per_block": 1, "norm_num_groups": 4}

ARMS = (("as trained", False, False), ("channels innermost", True, False), ("kernels timed", False, True))
"""Name, channels innermost, convolutions timed before they are chosen."""
INNERMOST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By a weight's dimensions."""


def vae(size: Size) -> Iterator[Figures]:
    """Seconds and peak of: the clip encoded, the first frame encoded (all that a step does with a cache), a clip
    decoded in tiles. The first call is told apart: it chooses kernels."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    frames, height, width = (49, 480, 720) if size == "full" else (5, 32, 48)
    flops = _flops(size, frames, height, width)
    clip = torch.randint(0, 256, (1, frames, 3, height, width), dtype=torch.uint8, device=device)
    first = clip[:, 0].to(dtype) / 127.5 - 1
    latents = torch.randn(1, (frames - 1) // 4 + 1, 16, height // 8, width // 8, device=device).to(dtype)
    for name, innermost, timed in ARMS:
        make_deterministic(False)
        torch.backends.cudnn.benchmark = timed
        torch.manual_seed(0)
        encoders = _encoders(size, device, dtype)
        for weight in encoders.vae.parameters() if innermost else ():
            if weight.dim() in INNERMOST:
                weight.data = weight.data.contiguous(memory_format=INNERMOST[weight.dim()])
        runs: dict[str, Callable[[], object]] = {
            "encode_first": lambda e=encoders: e.image(first, frames),
            "encode": lambda e=encoders: e.video(clip),
            "decode": lambda e=encoders: e.decode(latents),
        }
        for what, run in runs.items():
            warm, seconds, peak = _timed(run, device)
            figures: Figures = {"arm": name, f"{what}_first_call": warm, f"{what}_seconds": seconds}
            if peak:
                figures[f"{what}_peak_gib"] = peak / 2**30
            if what == "encode":
                figures["encode_tflops"] = flops / seconds / 1e12
            yield figures


def _encoders(size: Size, device: torch.device, dtype: torch.dtype) -> Encoders:
    """The 5B's VAE with random weights, made on the device, in the layout that PyTorch gives."""
    unused: Any = None
    with torch.device(device):
        made = _vae_class(**({} if size == "full" else TOY))
    return CogVideoX.encoders(torch.nn.Module.to(made, dtype), {}, unused, unused)


def _flops(size: Size, frames: int, height: int, width: int) -> int:
    planned = _encoders(size, torch.device("meta"), torch.bfloat16)
    clip = torch.zeros(1, frames, 3, height, width, dtype=torch.uint8, device="meta")
    return count_flops(lambda: planned.video(clip))


def _timed(run: Callable[[], object], device: torch.device) -> tuple[float, float, int]:
    """Seconds of the first call and of the second, and bytes of the second's peak over what was held before."""
    seconds = []
    held = peak = 0
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        wait_for(device)
        began = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - began)
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated() - held
    return seconds[0], seconds[1], peak
