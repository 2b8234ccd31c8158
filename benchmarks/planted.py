"""Does `analyze` find what is there? A block trained to ground and one trained to carry must come out as dominant.

    python -m benchmarks.planted --folder build/planted --seeds 10

A seed draws a small CogVideoX of random weights, two of its blocks, and scenes: two boxes of latents that move, each in
the colour of its noun. LoRA on the two blocks is trained by SGA on the one and SPA on the other alone, no diffusion
loss. Then held-out scenes are analysed at every block, half of them with the tracks of another scene: what they say is
not where they say it, so they fail. Grounding is found where SGA's choice, one block, is the block that was trained for
it and was chosen as dominant; carrying likewise. A seed that is done is not done again. Prints a line a seed, then one
JSON object.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler
from torch import Tensor

from matrix_train.align.metrics import latent_masks
from matrix_train.analyze.labels import Labels
from matrix_train.analyze.reading import Aim, Processors, Reading
from matrix_train.analyze.summary import summarise
from matrix_train.analyze.table import ReadRole, clip_table, write_table
from matrix_train.attention.roles import ROLES, RoleWeights, query_weights, role_masks, token_weights
from matrix_train.backbones import CogVideoX
from matrix_train.config import AlignConfig
from matrix_train.files import write_json
from matrix_train.fit.inputs import Inputs
from matrix_train.fit.step import AlignedModel

BLOCKS, TOKENS, WIDTH, NOUNS, VERBS = 6, 12, 32, 8, 4
FRAMES, HEIGHT, WIDE, STRIDE = 9, 96, 128, 8
BATCH, LR, HELD_OUT, TIMESTEPS = 4, 3e-3, 24, (900, 600, 300)


class World:
    """Scenes of a seed: embeddings of its words, colours of its nouns."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.words = self._randn(NOUNS + VERBS + 1, WIDTH)
        self.colours = 1.5 * self._randn(NOUNS, 16)

    def _randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def _below(self, most: int) -> int:
        return int(torch.randint(most, (1,), generator=self.generator))

    def masks(self) -> Tensor:
        """Two boxes that keep apart, [2, T, H, W] uint8: one in each half of the picture, moving within it."""
        masks = torch.zeros(2, FRAMES, HEIGHT, WIDE, dtype=torch.uint8)
        halves = [0, WIDE // 2] if self._below(2) else [WIDE // 2, 0]
        for mask, left in zip(masks, halves, strict=True):
            height, width = 32 + 16 * self._below(2), 32
            y, x = self._below(HEIGHT - height + 1), self._below(WIDE // 2 - width + 1)
            to_y, to_x = self._below(HEIGHT - height + 1), self._below(WIDE // 2 - width + 1)
            for t in range(FRAMES):
                share = t / (FRAMES - 1)
                top, start = round(y + share * (to_y - y)), left + round(x + share * (to_x - x))
                mask[t, top : top + height, start : start + width] = 1
        return masks

    def inputs(self, count: int) -> Inputs:
        """So many scenes, noised by one noise each."""
        masks = torch.stack([self.masks() for _ in range(count)])
        text, latents, prompts = [], [], []
        for own in masks:
            nouns = torch.randperm(NOUNS, generator=self.generator)[:2].tolist()
            places = torch.randperm(TOKENS, generator=self.generator)[:3].tolist()
            prompt = self.words[-1].repeat(TOKENS, 1) + 0.1 * self._randn(TOKENS, WIDTH)
            for place, word in zip(places, (nouns[0], NOUNS + self._below(VERBS), nouns[1]), strict=True):
                prompt[place] = self.words[word]
            prompts.append(prompt)
            text.append(token_weights([[place] for place in places], TOKENS))
            # A latent's share of each box: mean over its 8 × 8 pixels, and over the frames it stands for.
            cells = torch.nn.functional.avg_pool2d(own.float(), 8)
            cells = torch.cat([cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).mean(dim=2)], dim=1)
            colours = self.colours[nouns]
            latents.append(torch.einsum("ifhw,ic->fchw", cells, colours) + 0.2 * self._randn(1, 16, 1, 1))
        clean, pairs = torch.stack(latents), torch.tensor([[[0, 1]]]).expand(count, 1, 2)
        full, at_stride = role_masks(masks, pairs, 1), role_masks(masks, pairs, STRIDE)
        grid = (3, HEIGHT // 16, WIDE // 16)
        queries = query_weights(full[:, :, 0], *grid)
        roles = RoleWeights.build(torch.stack(text), queries)
        image = torch.cat([clean[:, :1], torch.zeros_like(clean[:, 1:])], dim=1)
        return Inputs(
            clean=clean, noise=self._randn(*clean.shape),
            conditions={"frames": torch.cat([image, torch.zeros_like(image)], dim=2), "prompt": torch.stack(prompts)},
            timesteps=torch.randint(1000, (count,), generator=self.generator), roles=roles, masks=at_stride,
            cells=latent_masks(full, *grid[1:]),
            present={"sga": roles.text.present, "spa": roles.video.present},
        )  # fmt: skip


def planted(seed: int, steps: int) -> tuple[CogVideoX, AlignedModel, World, int, int]:
    """A model whose block k was trained to ground and m to carry; k and m."""
    torch.manual_seed(seed)
    world = World(seed)
    k, m = torch.randperm(BLOCKS, generator=world.generator)[:2].tolist()
    backbone = CogVideoX(CogVideoX.model_class(
        num_attention_heads=2, attention_head_dim=32, num_layers=BLOCKS, in_channels=32, out_channels=16,
        time_embed_dim=32, text_embed_dim=WIDTH, max_text_seq_length=TOKENS, sample_frames=FRAMES,
        sample_height=HEIGHT // 8, sample_width=WIDE // 8, use_rotary_positional_embeddings=True,
    ))  # fmt: skip
    backbone.add_lora((k, m), 16, 16)
    align = AlignConfig(
        sga=1.0, spa=1.0, sga_blocks=(k,), spa_blocks=(m,), attention_map="softmax", prior=None, supervise_stride=STRIDE
    )
    backbone.install_taps({k: ["v2t"], m: ["v2v"]}, "softmax")
    model = AlignedModel(
        backbone, backbone.grid(FRAMES, HEIGHT, WIDE), align, CogVideoXDDIMScheduler(prediction_type="v_prediction")
    )
    trained = [*backbone.trainable().values(), *model.decoders.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=LR)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / 20, 4 * (1 - step / steps))
        loss, _ = model(world.inputs(BATCH), "alignment")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    backbone.install_taps({})
    return backbone, model, world, k, m


@torch.no_grad()
def analysed(backbone: CogVideoX, model: AlignedModel, world: World) -> dict[str, Any]:
    """What the analysis of held-out scenes chooses."""
    scenes = world.inputs(HELD_OUT)
    # The first half succeeds; the others have the tracks of the scene before.
    order = [i if i < HELD_OUT // 2 else HELD_OUT // 2 + (i + 1) % (HELD_OUT // 2) for i in range(HELD_OUT)]
    weights = scenes.roles
    queries = weights.video.dense(weights.video_length)[order]
    aim = Aim(RoleWeights.build(weights.text.dense(TOKENS), queries), scenes.cells[order])
    reading = Reading()
    processors = Processors(CogVideoX, [backbone.model], reading)
    for timestep in TIMESTEPS:
        at = replace(scenes, timesteps=torch.full((HELD_OUT,), timestep))
        noised = model.objective.noised(at.clean, at.noise, at.timesteps)
        reading.begin(aim, at.timesteps)
        backbone.predict(noised, at.conditions, at.timesteps)
        reading.end()
    processors.restore()
    roles = [ReadRole(0, role, role, ("v2t", "v2v"), 0) for role in ROLES]
    keys = [f"{i:02d}" for i in range(HELD_OUT)]
    labels = Labels(tuple(keys[: HELD_OUT // 2]), tuple(keys[HELD_OUT // 2 :]))
    one_each = AlignConfig(sga_blocks=(0,), spa_blocks=(0,))
    with tempfile.TemporaryDirectory() as folder:
        parts = {key: Path(folder) / f"{key}.parquet" for key in keys}
        for values, (key, part) in zip(reading.values.numpy(), parts.items(), strict=True):
            cells = scenes.cells[0, 0].numel()
            write_table(clip_table(key, values, reading.timesteps.numpy(), roles, cells), part)
        found = summarise(parts, len(TIMESTEPS), BLOCKS, one_each, alone=False, labels=labels)
    return {
        family: {"block": choice.blocks[0], "by": choice.by} for family, choice in found.chosen.items()
    } | {
        "aas": {v: own.magnitude.round(4).tolist() for v, own in found.found.items()},
        "gap": {v: own.success.round(4).tolist() for v, own in found.between.items() if own is not None},
    }  # fmt: skip


def trial(seed: int, steps: int) -> dict[str, Any]:
    backbone, model, world, k, m = planted(seed, steps)
    backbone.model.eval()
    found = analysed(backbone, model, world)
    hits = {
        "ground": found["sga"] == {"block": k, "by": "dominant"},
        "carry": found["spa"] == {"block": m, "by": "dominant"},
    }
    return {"seed": seed, "steps": steps, "ground_block": k, "carry_block": m, **hits, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    done = []
    for seed in range(options.seeds):
        file = options.folder / f"seed{seed}-{options.steps}.json"
        if not file.exists():
            write_json(file, trial(seed, options.steps))
        done.append(json.loads(file.read_text()))
        one = done[-1]
        print(
            f"seed {seed}: block {one['ground_block']} grounds, found {one['sga']['block']} ({one['sga']['by']}); "
            f"block {one['carry_block']} carries, found {one['spa']['block']} ({one['spa']['by']})", flush=True,
        )  # fmt: skip
    both = sum(one["ground"] and one["carry"] for one in done)
    print(json.dumps({"seeds": len(done), "found": both, "bar": 0.9, "ok": both >= 0.9 * len(done)}))


if __name__ == "__main__":
    main()
