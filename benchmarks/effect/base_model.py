"""A base model for `benchmarks.effect`: the tiny CogVideoX of a configuration, trained in full on the training clips.

    python -m benchmarks.effect.base_model configs/tiny.yaml --out F/seed0/base --set data.dataset=... --set ...

A LoRA is put on a model that has learned to make video. On random weights it would have to learn that first, and the
attention of LoRA alone, which SGA and SPA are held against, would go wherever that took it. So all weights are trained
here as plain image-to-video diffusion: no ID map, no alignment. What comes out is a pipeline of diffusers with its
stock 32 input channels. Needs the model and the cache that `matrix_train fit --precompute` made.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel

from matrix_train.backbones import CogVideoX
from matrix_train.backbones.cogvideox.pipeline import LATENT_CHANNELS
from matrix_train.config import Config, load_config
from matrix_train.data import open_stream
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.inputs import Draw, Inputs, prepare
from matrix_train.fit.precompute import cache_key
from matrix_train.fit.schedule import cosine_with_warmup
from matrix_train.fit.step import AlignedModel

CPU = torch.device("cpu")
LR, WARMUP = 1e-3, 50

_transformer_class: Any = CogVideoXTransformer3DModel  # diffusers is typed in part only


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder to make")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args(argv)
    config = load_config(options.config, [*options.sets, "align.sga=0", "align.spa=0"])
    making = options.out.with_name(f".{options.out.name}-making")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(config.model.path, making)
    transformer, loss = train_base(config, options.steps)
    transformer.save_pretrained(making / "transformer")
    making.rename(options.out)
    print(f"diffusion loss {loss:.4f}, mean of the last tenth of {options.steps} steps")


def train_base(config: Config, steps: int) -> tuple[Any, float]:
    """The trained transformer with its stock input channels, and the mean loss of the last tenth of the steps."""
    torch.manual_seed(config.train.seed)
    encoders = CogVideoX.encoders.load(config.model.path, torch.float32)
    backbone = CogVideoX.load(config.model.path)
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    model = AlignedModel(backbone, grid, config.align, encoders.scheduler).requires_grad_(True).train()
    cache = LatentCache(Path(str(config.train.cache)), cache_key(config))
    stream = open_stream(
        config.data, "train", encoders.tokenizer, grid, config.train.batch_size, config.train.seed, decode_video=False
    )
    draw = Draw(config.train.seed, "base", config.train.caption_dropout, config.train.image_noise)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=config.optim.betas, eps=config.optim.eps)
    losses: list[float] = []
    for step, batch in zip(range(steps), stream, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = LR * cosine_with_warmup(step, steps, WARMUP)
        with torch.no_grad():
            inputs = without_id_map(prepare(batch, encoders, grid, config.align.supervise_stride, draw, CPU, cache))
        loss, _ = model(inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    stream.close()
    return stock(backbone, config.model.path), mean(losses[-max(1, steps // 10) :])


def without_id_map(inputs: Inputs) -> Inputs:
    """Its channels zero: their weights start at zero, get no gradient, and can be left out again."""
    image = inputs.conditions["frames"][:, :, :LATENT_CHANNELS]
    frames = torch.cat([image, torch.zeros_like(image)], dim=2)
    return replace(inputs, conditions={**inputs.conditions, "frames": frames})


def stock(backbone: CogVideoX, path: str) -> Any:
    """The weights in a transformer as it was before its input projection grew."""
    made = _transformer_class.from_pretrained(path, subfolder="transformer")
    weights = backbone.model.state_dict()
    name = "patch_embed.proj.weight"
    weights[name] = weights[name][:, : made.config.in_channels]
    made.load_state_dict(weights)
    return made


if __name__ == "__main__":
    main()
