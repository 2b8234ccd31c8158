"""What it costs to read every block while a video is made: `python -m benchmarks.analyze [--blocks 2] [--heads 1]`.

CogVideoX-5B-I2V's size but for blocks and heads: 49 × 480 × 720, so 226 + 17 550 tokens, guidance on. One interaction
of 3 tokens a role, its subject on an eighth of the first frame and its object on a sixteenth; every block read both
ways. Plain and read sampling runs in turns, in one process, each the least of its rounds; `noise` is the same ratio of
the plain runs after the read ones to those before. On a CPU the clock is this process's. The last line is JSON.
"""

import argparse
import gc
import json
import resource
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline

from matrix_train.align.metrics import latent_masks
from matrix_train.analyze.reading import Aim
from matrix_train.analyze.tapping import tapped
from matrix_train.attention.roles import RoleWeights, query_weights, token_weights
from matrix_train.backbones import CogVideoX
from matrix_train.plan.flops import wait_for

BAR = 0.1


@dataclass(frozen=True)
class Size:
    frames: int
    height: int
    width: int
    blocks: int
    heads: int
    steps: int = 1


class Work:
    """A pipeline of random weights, and what to read of it."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(0)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        config = CogVideoX.sized(size.heads, size.blocks, size.frames, size.height, size.width)
        with torch.device(device):
            model: Any = CogVideoX.model_class(
                **{**config, "in_channels": 16, "use_learned_positional_embeddings": False}
            )
        vae = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2)
        self.pipe: Any = CogVideoXPipeline(
            tokenizer=None, text_encoder=None, vae=vae, transformer=model.to(dtype).eval(),
            scheduler=CogVideoXDDIMScheduler(),
        )  # fmt: skip
        self.pipe.set_progress_bar_config(disable=True)
        self.size, self.device = size, device
        text, width = config["max_text_seq_length"], config["text_embed_dim"]
        self.prompt = torch.randn(1, text, width, device=device, dtype=dtype)
        self.aim = _aim(size, text).to(device)

    def run(self, read: bool) -> None:
        size = self.size
        reading = tapped(CogVideoX, [self.pipe.transformer], lambda *_: self.aim, lambda: True)
        with reading if read else nullcontext() as found:
            self.pipe(
                prompt_embeds=self.prompt, negative_prompt_embeds=self.prompt, num_frames=size.frames,
                height=size.height, width=size.width, num_inference_steps=size.steps, guidance_scale=6.0,
                max_sequence_length=self.prompt.shape[1], output_type="latent",
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
        if found is not None:
            assert found.values.shape == (1, size.steps, size.blocks, 2, 3, 2)

    def seconds(self, read: bool) -> float:
        gc.collect()
        wait_for(self.device)
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        began = clock()
        self.run(read)
        wait_for(self.device)
        return clock() - began


def _aim(size: Size, text: int) -> Aim:
    masks = np.zeros((3, size.frames, size.height, size.width), dtype=bool)
    masks[0, :, : size.height // 2, : size.width // 4] = True
    masks[2, :, size.height // 2 : size.height * 3 // 4, size.width * 3 // 4 :] = True
    masks[1] = masks[0] | masks[2]
    given, grid = torch.from_numpy(masks)[None], (1 + (size.frames - 1) // 4, size.height // 16, size.width // 16)
    tokens = token_weights([[1, 2, 3], [4, 5, 6], [7, 8, 9]], text)[None]
    queries = query_weights(given[:, :, 0], *grid)
    return Aim(RoleWeights.build(tokens, queries), latent_masks(given, *grid[1:]))


def overhead(size: Size, device: torch.device, rounds: int) -> Iterator[dict[str, Any]]:
    """The figures of all rounds so far, round by round."""
    work = Work(size, device)
    work.run(True)
    before, read, after = list[float](), list[float](), list[float]()
    cells = work.aim.cells[0, 0].numel()
    for _ in range(rounds):
        for times, on in ((before, False), (read, True), (after, False)):
            times.append(work.seconds(on))
        yield {
            "tokens": work.prompt.shape[1] + cells, "blocks": size.blocks, "heads": size.heads, "rounds": len(read),
            "seconds_plain": min(before + after), "seconds_read": min(read),
            "overhead": min(read) / min(before + after) - 1, "noise": min(after) / min(before) - 1, "bar": BAR,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, Any] = {}
    for found in overhead(Size(49, 480, 720, options.blocks, options.heads), device, options.rounds):
        print(f"{found['overhead']:+.1%}, noise {found['noise']:+.1%}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({**found, "peak_gib": peak, "ok": found["overhead"] <= BAR}))


if __name__ == "__main__":
    main()
