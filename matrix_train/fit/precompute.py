"""`fit --precompute`: every clip's latents and text embeddings into the cache.

Stopped, it goes on where it was; run again over a changed data set, it makes anew what has another video or caption.
"""

from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.progress import track

from matrix_train.backbones.configured import plan_backbone
from matrix_train.backbones.encoders import identity
from matrix_train.config import DTYPES, Config
from matrix_train.data import Collate, GaveUp, MatrixDataset, Ref, Split
from matrix_train.errors import UserError
from matrix_train.fit.cache import CacheKey, LatentCache, listed_sources, sources
from matrix_train.fit.inputs import encode


def cache_key(config: Config) -> CacheKey:
    """What this run's cache must have been made from."""
    model, data = config.model, config.data
    return CacheKey(
        vae=identity(model.path, "vae", model.revision),
        text_encoder=identity(model.path, "text_encoder", model.revision),
        precision=model.precision,
        frames=data.frames, frame_step=data.frame_step, height=data.height, width=data.width,
        max_tokens=data.max_tokens,
    )  # fmt: skip


def precompute(config: Config, accelerator: Accelerator, console: Console) -> int:
    """Fills the cache with both splits; returns how many clips this process encoded. UserError without train.cache.

    Several processes share the clips. A bad entry is left out here, and counted when training meets it.
    """
    if config.train.cache is None:
        raise UserError("set train.cache to the folder for latents and text embeddings")
    if accelerator.is_main_process:
        LatentCache.create(Path(config.train.cache), cache_key(config))
    accelerator.wait_for_everyone()
    cache = LatentCache(Path(config.train.cache), cache_key(config))
    dtype = DTYPES[config.model.precision]
    backbone = plan_backbone(config)
    encoders = backbone.encoders.load(config.model.path, dtype, config.model.revision).to(accelerator.device)
    cache.write("empty", {"prompt": encoders.empty(config.data.max_tokens)[0]}, {})
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    together = Collate(grid.frames, grid.height, grid.width)
    done = 0
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        dataset = MatrixDataset(config.data, split, encoders.tokenizer, seed=0)
        order = dataset.plan.order(0)
        mine = range(accelerator.process_index, len(order), accelerator.num_processes)
        for place in track(mine, split, console=console, disable=not accelerator.is_main_process):
            row = dataset.rows[order[place]]
            if cache.holds(row.key, listed_sources(row.caption, row.media_digest)):
                continue
            batch = together([dataset[Ref(0, place, place)]])
            if isinstance(batch, GaveUp):
                raise UserError(batch.message or "; ".join(map(str, batch.bad[:5])))
            if batch.keys[0] == order[place]:
                encoded = encode(batch.to(accelerator.device), encoders)
                cache.write(order[place], {name: value[0] for name, value in encoded.items()}, sources(batch, 0))
                done += 1
    return done
