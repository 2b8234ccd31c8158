"""How the libraries compute, for all of the process: chosen before the first kernel runs."""

import os

import torch


def make_deterministic(wanted: bool) -> None:
    """Operators that give the same bits each time, or an error where there is none; slower on a GPU.

    cuDNN takes what it guesses for a convolution and times none: on an H100 the VAE's were no faster for 14 s of
    timing. cuBLAS reads its variable when it is first used.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted


def allow_tf32(device: torch.device) -> None:
    """On a GPU: float32 products of LoRA take tensor cores, at 10 bits where what they read has bfloat16's 7."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
