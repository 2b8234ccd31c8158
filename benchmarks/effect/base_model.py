"""A base model for `benchmarks.effect`: the tiny CogVideoX of a configuration, trained in full on the training clips.

    python -m benchmarks.effect.base_model configs/tiny.yaml --out F/seed0/base --set data.dataset=... --set ...

A LoRA is put on a model that has learned to make video. On random weights it would have to learn that first, and the
attention of LoRA alone, which SGA and SPA are held against, would go wherever that took it. So all weights are trained
here as plain image-to-video diffusion, without alignment, and without the ID map where the pipeline was made without.
What comes out is a pipeline of diffusers with the input channels that it had. Needs the model and the cache that
`matrix_train fit --precompute` made. Run again, it goes on from where it was saved last.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from matrix_train.backbones import Backbone, Encoders, backbone_class
from matrix_train.backbones.cogvideox.pipeline import LATENT_CHANNELS
from matrix_train.config import DTYPES, Config, load_config
from matrix_train.data import open_stream
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.inputs import Draw, Inputs, prepare
from matrix_train.fit.noise import generator, normal, send, uniform
from matrix_train.fit.precompute import cache_key
from matrix_train.fit.schedule import cosine_with_warmup
from matrix_train.fit.step import AlignedModel

CPU = torch.device("cpu")
LR, WARMUP = 1e-3, 50
STATE_FILE, SAVE_EVERY = "state.pt", 100


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder to make")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args(argv)
    make_base(load_config(options.config, options.sets), options.steps, options.out, CPU)


def make_base(config: Config, steps: int, out: Path, device: torch.device, held: int = 0) -> None:
    """The pipeline folder `out`, which appears whole at the end; beside it meanwhile what a killed run goes on from.

    held: as `train_base` has it.
    """
    config = config.model_copy(update={"align": config.align.model_copy(update={"sga": 0.0, "spa": 0.0})})
    making = out.with_name(f".{out.name}-making")
    shutil.copytree(config.model.path, making, dirs_exist_ok=True)
    transformer, loss = train_base(config, steps, making / STATE_FILE, device, held)
    transformer.save_pretrained(making / "transformer")
    (making / STATE_FILE).unlink()
    making.rename(out)
    print(f"diffusion loss {loss:.4f}, mean of the last tenth of {steps} steps")


def train_base(config: Config, steps: int, state: Path, device: torch.device, held: int = 0) -> tuple[Any, float]:
    """The trained transformer with the input channels that it had, and the mean loss of the last tenth of the steps.

    Weights are kept in float32; in `model.precision` are what the encoders give and, by autocast, the products of the
    forward pass. state: saved there every `SAVE_EVERY` steps and after the last, and gone on from. held: so many
    batches are read, and kept on the device to be drawn from; 0 reads on.
    """
    torch.manual_seed(config.train.seed)
    kind = backbone_class(config.model.path)
    dtype = DTYPES[config.model.precision]
    encoders = kind.encoders.load(config.model.path, dtype).to(device)
    backbone = kind.load(config.model.path)
    reads_id_map = kind.read_config(config.model.path)["in_channels"] == backbone.model.config.in_channels
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    model = AlignedModel(backbone, grid, config.align, encoders.scheduler).requires_grad_(True).train()
    model.to(device)
    cache = LatentCache(Path(str(config.train.cache)), cache_key(config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=config.optim.betas, eps=config.optim.eps)
    losses: list[Any] = []
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        losses = saved["losses"]
    draw = Draw(config.train.seed, "base", config.train.caption_dropout, config.train.image_noise)

    def batches(position: int) -> Iterator[Inputs]:
        with open_stream(
            config.data, "train", encoders.tokenizer, grid, config.train.batch_size, config.train.seed,
            position=position, decode_video=False,
        ) as stream:  # fmt: skip
            for batch in stream:
                with torch.no_grad():
                    inputs = prepare(batch, encoders, grid, config.align.supervise_stride, draw, device, cache)
                yield inputs  # not within: that would hold for whoever takes it

    begun = len(losses)
    source = again(list(islice(batches(0), held)), encoders, config.train.seed, begun) if held else batches(begun)
    for step, inputs in zip(range(begun, steps), source, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = LR * cosine_with_warmup(step, steps, WARMUP)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss, _ = model(inputs if reads_id_map else without_id_map(inputs))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())  # not read off: that would wait for the device
        if len(losses) % SAVE_EVERY == 0 or len(losses) == steps:
            losses = [float(one) for one in losses]
            scratch = state.with_name(f".{state.name}")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}, scratch)
            scratch.replace(state)
            print(f"step {len(losses)}/{steps}: diffusion loss {mean(losses[-SAVE_EVERY:]):.4f}", flush=True)
    trained = backbone.model if reads_id_map else stock(backbone, config.model.path)
    return trained, mean(losses[-max(1, steps // 10) :])


def again(held: Sequence[Inputs], encoders: Encoders, seed: int, step: int) -> Iterator[Inputs]:
    """Batches of their rows without end, from this step on, with other noise and timesteps. For plain diffusion:
    what only alignment reads is the first batch's.

    Reading and decoding a clip takes some ten milliseconds of a processor, in which a GPU takes a step.
    """
    clean = torch.cat([one.clean for one in held])
    conditions = {name: torch.cat([one.conditions[name] for one in held]) for name in held[0].conditions}
    size = len(held[0].clean)
    for at in count(step):
        drawn = generator(seed, "again", at)
        rows = send(torch.randperm(len(clean), generator=drawn)[:size], clean.device)
        chosen = clean[rows]
        # Of one generator: a sample's own would take the processor as long as the GPU takes the step.
        noise = normal([drawn], chosen.shape, chosen)[0]
        timesteps = encoders.timesteps(uniform([drawn] * size))
        yield replace(
            held[0], clean=chosen, noise=noise, timesteps=send(timesteps, clean.device),
            conditions={name: values[rows] for name, values in conditions.items()},
        )  # fmt: skip


def without_id_map(inputs: Inputs) -> Inputs:
    """Its channels zero: their weights start at zero, get no gradient, and can be left out again."""
    image = inputs.conditions["frames"][:, :, :LATENT_CHANNELS]
    frames = torch.cat([image, torch.zeros_like(image)], dim=2)
    return replace(inputs, conditions={**inputs.conditions, "frames": frames})


def stock(backbone: Backbone, path: str) -> Any:
    """The weights in a transformer as it was before its input projection grew."""
    made = backbone.model_class.from_pretrained(path, subfolder="transformer")
    weights = backbone.model.state_dict()
    name = f"{backbone.input_layer}.weight"
    weights[name] = weights[name][:, : made.config.in_channels]
    made.load_state_dict(weights)
    return made


if __name__ == "__main__":
    main()
