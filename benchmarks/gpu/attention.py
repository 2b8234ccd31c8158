"""Role maps and their gradients against dense float64, and what each fused kernel takes at the 5B's size."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks.gpu.parts import Figures, Size
from benchmarks.gpu.trace import top_kernels
from matrix_train.attention.dense import dense_attend
from matrix_train.attention.kernels import AttentionKernel, attention_kernel, check_kernel
from matrix_train.attention.maps import Direction, Kernel, Mode, Taps, attend
from matrix_train.attention.roles import RoleWeights
from matrix_train.errors import UserError
from matrix_train.plan.flops import wait_for

VARIANTS: tuple[tuple[Mode, Direction, Kernel], ...] = (
    ("centred", "v2t", "auto"), ("centred", "v2v", "auto"), ("logits", "v2t", "auto"), ("logits", "v2v", "auto"),
    ("softmax", "v2t", "lse"), ("softmax", "v2t", "columns"), ("softmax", "v2v", "auto"),
)  # fmt: skip
TEXT, CELLS, HEADS, DIM = 24, 3 * 8 * 12, 4, 64
NAMES = ("out", "map", "dq", "dk", "dv")
BAR = 0.02
"""Largest relative error in bfloat16, whose numbers have 8 bits: on a CPU the largest is .009 (`map_parity`)."""


def parity(size: Size) -> Iterator[Figures]:  # noqa: ARG001 small either way
    """Relative errors in bfloat16 of output, map, and the gradients of a functional of both."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    roles = _roles().to(device)
    worst = 0.0
    for mode, direction, kernel in VARIANTS:
        generator = torch.Generator().manual_seed(0)

        def noise(*shape: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        shape = (1, HEADS, TEXT + CELLS, DIM)
        q, k, v = leaves = [noise(*shape).mul(1.5).to(torch.bfloat16).requires_grad_() for _ in range(3)]
        exact_q, exact_k, exact_v = exact = [x.detach().double().requires_grad_() for x in leaves]
        along = noise(*shape).double(), 100 * noise(1, 3, CELLS).double()
        out, found = attend(q, k, v, Taps(roles, (direction,), mode, kernel))
        want_out, want = dense_attend(exact_q, exact_k, exact_v, Taps(roles, (direction,), mode))
        sides = (out, found[direction]), (want_out, want[direction])
        values = [sum((a.double() * b).sum() for a, b in zip(side, along, strict=True)) for side in sides]
        grads = [torch.autograd.grad(v, x) for v, x in zip(values, (leaves, exact), strict=True)]
        pairs = [*zip(*sides, strict=True), *zip(*grads, strict=True)]
        errors = {name: _relative(*pair) for name, pair in zip(NAMES, pairs, strict=True)}
        worst = max(worst, *errors.values())
        yield {"mode": mode, "direction": direction, "kernel": kernel, **errors}
    yield {"worst": worst, "bar": BAR, "ok": worst <= BAR}


def kernels(size: Size) -> Iterator[Figures]:
    """Seconds of one attention, forward and backward, by `model.attention`, and the names of what ran.

    What `auto` names is PyTorch's own choice on this device.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    heads, tokens = (48, 17776) if size == "full" else (2, 96)
    shape = (1, heads, tokens, 64)
    q, k, v = leaves = [torch.randn(*shape, device=device, dtype=dtype).requires_grad_() for _ in range(3)]
    weight = torch.randn_like(q)

    def run() -> None:
        torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), leaves, weight)

    for name in get_args(AttentionKernel):
        try:
            check_kernel(name, device, dtype)
        except UserError as error:
            yield {"attention": name, "skipped": str(error)}
            continue
        with attention_kernel(name):
            run()
            seconds = median(_seconds(run, device) for _ in range(5))
            ran = top_kernels(run, 4)
        # Two products forward, five backward.
        yield {
            "attention": name, "seconds": seconds, "tflops": 7 * 2 * heads * tokens**2 * 64 / seconds / 1e12,
            "ran": [kernel["name"] for kernel in ran["top"]],
        }  # fmt: skip


def _roles() -> RoleWeights:
    text, video = torch.zeros(1, 3, TEXT), torch.zeros(1, 3, CELLS)
    for role in range(3):
        text[0, role, 4 * role : 4 * role + 3] = 1 / 3
    video[0, 0, :20], video[0, 2, 10:50] = 1 / 20, 1 / 40
    return RoleWeights.build(text, video)


def _relative(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm())


def _seconds(run: Any, device: torch.device) -> float:
    wait_for(device)
    began = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - began
