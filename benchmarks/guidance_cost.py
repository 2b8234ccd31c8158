"""What CMG and CAG add to a step of classifier-free guidance: FLOPs counted, and seconds of CPU time.

    python -m benchmarks.guidance_cost

CogVideoX's geometry with 3 blocks of 4 heads, random weights, 17 × 240 × 352 (1 650 + 226 tokens), one thread. CPU
time is the process's own, so that other work on the machine disturbs it little; the least of the rounds.
"""

import json
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from matrix_train.attention.cut import Words
from matrix_train.backbones import CogVideoX
from matrix_train.backbones.guidance import Guidance, guided

CLIP = (17, 240, 352)
ROUNDS = 3


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = CogVideoX.from_config(CogVideoX.sized(4, 3, *CLIP))
    grid = backbone.grid(*CLIP)
    upper = torch.zeros(grid.frames, grid.height, grid.width, dtype=torch.bool)
    upper[:, : grid.height // 2] = True
    roles = [((1, 2, 3), upper.flatten()), ((4,), torch.ones(grid.cells, dtype=torch.bool)), ((7, 8), ~upper.flatten())]
    words = Words.of(roles)
    arms = {
        "plain": None,
        "cmg": Guidance(1.5, 0.0, (1,), (), words, grid.frames),
        "cag": Guidance(0.0, 1.0, (), (2,), None, grid.frames),
        "both": Guidance(1.5, 1.0, (1,), (2,), words, grid.frames),
    }
    latents, conditions, timesteps = backbone.blank(2, *CLIP)

    def step(guidance: Guidance | None) -> float:
        with guided(backbone, guidance, classifier_free=True):
            begun = time.process_time()
            backbone.forward(latents, conditions, timesteps)
            return time.process_time() - begun

    found: dict[str, Any] = {}
    for name, guidance in arms.items():
        with FlopCounterMode(display=False) as counter:
            step(guidance)
        found[name] = {
            "gflop": counter.get_total_flops() / 1e9,
            "cpu_seconds": min(step(guidance) for _ in range(ROUNDS)),
        }
    for name, cost in found.items():
        shares = [cost[what] / found["plain"][what] for what in ("gflop", "cpu_seconds")]
        print(f"{name}: {cost['gflop']:.1f} GFLOP, {cost['cpu_seconds']:.2f} s; × {shares[0]:.3f}, × {shares[1]:.2f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
