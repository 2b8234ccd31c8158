"""Which fused kernel computes attention: PyTorch's choice, or one by name."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel

from matrix_train.errors import UserError

AttentionKernel = Literal["auto", "flash", "cudnn", "efficient"]

_BACKENDS: dict[AttentionKernel, SDPBackend] = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def attention_kernel(name: AttentionKernel) -> AbstractContextManager[None]:
    """Around forward and backward passes alike: checkpointing runs attention again in the latter."""
    return nullcontext() if name == "auto" else sdpa_kernel(_BACKENDS[name])


def check_kernel(name: AttentionKernel, device: torch.device, dtype: torch.dtype) -> None:
    """UserError where this device does not have it for this type."""
    q = torch.zeros(1, 1, 64, 64, device=device, dtype=dtype)
    try:
        with attention_kernel(name):
            F.scaled_dot_product_attention(q, q, q)
    except RuntimeError:
        raise UserError(
            f"model.attention={name}: no such kernel for {str(dtype).removeprefix('torch.')} on this {device.type}: "
            "set it to auto"
        ) from None
