"""Relative errors of role maps and their gradients against the dense float64 reference.

    PYTHONPATH=. python benchmarks/map_parity.py

One line per dtype, mode and direction: output, map, and the gradients of q, k and v of a random functional of both.
"""

import torch

from matrix_train.attention.maps import Taps, attend
from matrix_train.attention.roles import RoleWeights
from tests.matrix_train.reference import VARIANTS, dense_attend, relative_error, two_samples

HEADS, LENGTH, CELLS, DIM = 3, 11, 120, 16
NAMES = ("out", "map", "dq", "dk", "dv")


def main() -> None:
    text, video = two_samples(LENGTH, CELLS)
    roles = RoleWeights.build(text, video)
    shape = (2, HEADS, LENGTH + CELLS, DIM)
    for dtype in (torch.float32, torch.bfloat16):
        for mode, direction, kernel in VARIANTS:
            torch.manual_seed(0)
            leaves = [torch.randn(shape).mul(1.5).to(dtype).requires_grad_() for _ in range(3)]
            exact = [x.detach().double().requires_grad_() for x in leaves]
            along = torch.randn(shape, dtype=torch.float64), 100 * torch.randn(2, 3, CELLS, dtype=torch.float64)
            out, maps = attend(*leaves, Taps(roles, (direction,), mode, kernel))
            dense = dense_attend(*exact, text.double(), video.double(), direction, mode)
            pairs = [(out, dense[0]), (maps[direction], dense[1])]
            values = [
                sum((a.double() * b).sum() for a, b in zip(side, along, strict=True))
                for side in zip(*pairs, strict=True)
            ]
            pairs += zip(torch.autograd.grad(values[0], leaves), torch.autograd.grad(values[1], exact), strict=True)
            errors = "  ".join(f"{name} {relative_error(*pair):.1e}" for name, pair in zip(NAMES, pairs, strict=True))
            print(f"{str(dtype).removeprefix('torch.'):8} {mode:7} {direction} {kernel:7}  {errors}")


if __name__ == "__main__":
    main()
