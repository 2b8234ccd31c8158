"""The code, the pipeline of random weights with its cache, and a base, trained by `benchmarks.effect.base_model`."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.effect.arms import CONFIGS
from benchmarks.effect.base_model import make_base
from benchmarks.miniature.backbone import make_pipeline
from benchmarks.miniature.codec import PatchCode, psnr
from benchmarks.miniature.scenes import Film, scenes
from benchmarks.miniature.sizes import ASKED_SEED, PRECISION, TRAIN_SEED, Size
from matrix_train.backbones.encoders import unit
from matrix_train.config import Config, load_config
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.precompute import precompute

CODED = 60
"""Pictures that the code is fitted on, and a third as many that it is tried on."""


def make_code(out: Path, size: Size) -> None:
    """The code on disk, and how well it tells videos that it was not fitted on."""
    if out.exists():
        return
    code = PatchCode()
    code.fit(videos(TRAIN_SEED, min(size.pictures, CODED), size.film))
    held_out = videos(ASKED_SEED, min(size.asked, CODED // 3), size.film)
    with torch.no_grad():
        again = code.decode(code.encode(held_out).latent_dist.mode()).sample
    print(f"code: {psnr(again, held_out):.1f} dB on {len(held_out)} clips that it has not seen")
    code.save_pretrained(out)


def videos(seed: int, pictures: int, film: Film) -> Tensor:
    """[N, 3, T, H, W] in −1 … 1."""
    shown = [np.stack([picture for picture, _ in one.scene.frames()]) for one in scenes(seed, pictures, film)]
    return unit(torch.from_numpy(np.stack(shown))).permute(0, 4, 1, 2, 3)


def config_of(folder: Path, size: Size, seed: int, sets: list[str]) -> Config:
    """What all runs of a seed are set to: the tiny configuration's but for sizes and places."""
    film, own = size.film, folder / f"seed{seed}"
    return load_config(
        CONFIGS / "tiny.yaml",
        [
            "model.make_random=null", f"model.precision={PRECISION}", f"model.path={own / 'model'}",
            f"train.cache={own / 'cache'}", f"train.out={own / 'run'}", f"train.seed={seed}",
            f"data.dataset={folder / 'dataset'}",
            f"data.frames={film.frames}", f"data.height={film.height}", f"data.width={film.width}",
            "data.frame_step=1", f"data.max_tokens={size.max_tokens}", f"data.workers={size.workers}",
            f"train.batch_size={size.batch}", "log.to=[]", *sets,
        ],
    )  # fmt: skip


def model_of_seed(folder: Path, size: Size, seed: int) -> None:
    """The seed's random model, and the cache of its latents and prompts, where they are not there."""
    config = config_of(folder, size, seed, [])
    own, film = folder / f"seed{seed}", size.film
    if not (own / "model").exists():
        code = cast(PatchCode, PatchCode.from_pretrained(folder / "code"))
        captions = [one.scene.caption.text for one in scenes(TRAIN_SEED, size.pictures, film)]
        clip = (film.frames, film.height, film.width)
        make_pipeline(own / "model", code, captions, clip, size.heads, size.blocks, size.max_tokens, seed)
    precompute(config, make_accelerator(config), Console(quiet=True))


def base_of_seed(folder: Path, size: Size, seed: int) -> None:
    """The seed's base, where it is not there."""
    config = config_of(folder, size, seed, [f"train.batch_size={size.base_batch}"])
    base = folder / f"seed{seed}" / "base"
    if not base.exists():
        make_base(config, size.base_steps, base, make_accelerator(config).device, size.held)
