"""How the libraries compute, for all of the process: chosen before the first kernel runs."""

import os

import torch


def make_deterministic(wanted: bool) -> None:
    """Operators that give the same bits each time, or an error where there is none; slower on a GPU.

    Otherwise cuDNN times its convolutions once for each shape and takes the fastest: the VAE's shapes are few, and
    what cuDNN would guess for them in bfloat16 may be several times slower. Two runs may then take different ones.
    cuBLAS reads its variable when it is first used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = not wanted


def allow_tf32(device: torch.device) -> None:
    """On a GPU: float32 products of LoRA take tensor cores, at 10 bits where what they read has bfloat16's 7."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
