"""Every clip's latents and text embeddings into the cache, before training or by `fit --precompute`.

Stopped, it goes on where it was; run again over a changed data set, it makes anew what has another video or caption.
"""

import shutil
import tempfile
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from rich.console import Console
from rich.progress import track

from matrix_train.backbones import Encoders, backbone_class
from matrix_train.backbones.configured import plan_backbone
from matrix_train.backbones.encoders import VAE, identity
from matrix_train.config import DTYPES, Config
from matrix_train.data import Collate, GaveUp, MatrixDataset, Ref, Split, read_index
from matrix_train.errors import UserError
from matrix_train.fit.cache import CACHE_FILE, CacheKey, LatentCache, listed_sources, sources
from matrix_train.plan.cost import blank_clip, plan_encoders

SPLITS: tuple[Split, ...] = ("train", "val")


def cache_key(config: Config) -> CacheKey:
    """What this run's cache must have been made from."""
    model, data = config.model, config.data
    encoders = backbone_class(model.path, model.revision).encoders
    return CacheKey(
        networks={part: identity(model.path, part, model.revision) for part in (VAE, *encoders.reader_classes)},
        precision=model.precision,
        frames=data.frames, frame_step=data.frame_step, height=data.height, width=data.width,
        max_tokens=data.max_tokens, prompt=data.prompt,
    )  # fmt: skip


def ready_cache(config: Config, accelerator: Accelerator, console: Console) -> Config:
    """The configuration, its cache filled; without the cache where it cannot be, which is said. UserError.

    Every process must call it.
    """
    config, lacking = looked_into(config, accelerator, console)
    if lacking and (encoded := precompute(config, accelerator, console)):
        console.print(f"encoded {encoded} clips into {config.train.cache}, once for all runs", soft_wrap=True)
    return config


def looked_into(config: Config, accelerator: Accelerator, console: Console) -> tuple[Config, int]:
    """As `ready_cache`, but nothing is filled nor made; and how many clips the cache lacks that training fills in."""
    if config.train.cache is None or not config.train.precompute:
        return config, 0
    folder = Path(config.train.cache)
    why, lacking = broadcast_object_list([_why_not(folder, config) if accelerator.is_main_process else None])[0]
    if why is None:
        return config, lacking
    if accelerator.is_main_process:
        console.print(f"note: no cache in {folder}: {why}; every step encodes its clips", soft_wrap=True)
    return config.model_copy(update={"train": config.train.model_copy(update={"cache": None})}), 0


def _why_not(folder: Path, config: Config) -> tuple[str | None, int]:
    """Why the cache cannot be filled here, and how many clips it lacks."""
    lacking = sum(len(_lacking(config, split)) for split in SPLITS)
    return (_no_room(folder, config, lacking) if lacking else None), lacking


def _no_room(folder: Path, config: Config, lacking: int) -> str | None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return f"it cannot be made ({there} is no folder)"
    try:
        # A pseudo file system, /proc say, tells a root user that it can be written, and then takes no file.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError:
        return f"{there} cannot be written"
    needed, free = lacking * entry_bytes(config), shutil.disk_usage(there).free
    if needed > free:
        return f"{lacking} clips take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
    return None


def entry_bytes(config: Config) -> int:
    """Of one clip: encoded on the meta device, where it takes no time to speak of."""
    encoders = plan_encoders(config, whole=True)
    return sum(known.nbytes for known in encoders.encode(*blank_clip(config)).values())


def precompute(config: Config, accelerator: Accelerator, console: Console) -> int:
    """Fills the cache with both splits; returns how many clips this process encoded. UserError without train.cache.

    Several processes share the clips. A bad entry is left out here, and counted when training meets it.
    """
    if config.train.cache is None:
        raise UserError("set train.cache to the folder for latents and text embeddings")
    folder = Path(config.train.cache)
    if accelerator.is_main_process:
        LatentCache.create(folder, cache_key(config))
    accelerator.wait_for_everyone()
    lacking = {split: _lacking(config, split) for split in SPLITS}
    accelerator.wait_for_everyone()  # before the first entry is written: all share the same list
    making = _Making(config, accelerator, LatentCache(folder, cache_key(config)))
    try:
        return sum(making.fill(split, lacking[split], console) for split in SPLITS)
    except torch.OutOfMemoryError as error:
        # Before the transformer is there: what makes a step smaller makes this no smaller.
        raise UserError(
            f"{str(error).split('. ')[0]} while train.cache is filled: fill it on a larger GPU by --precompute, or set "
            "model.precision=bf16, fewer data.frames or a smaller data.height and data.width"
        ) from None


def _lacking(config: Config, split: Split) -> list[str]:
    """Keys of a split that have no entry, or one that was made from something else."""
    listing, folder = read_index(config.data, split), Path(config.train.cache or "")
    if not (folder / CACHE_FILE).exists():
        return [row.key for row in listing.rows]
    cache = LatentCache(folder, cache_key(config))
    return [
        row.key
        for row in listing.rows
        if not cache.holds(row.key, listed_sources(row.caption, row.media_digest, listing.labels.of(row.key)))
    ]


class _Making:
    """One process's share. The encoders are loaded for the first clip that wants them."""

    def __init__(self, config: Config, accelerator: Accelerator, cache: LatentCache) -> None:
        self.config, self.accelerator, self.cache = config, accelerator, cache
        self.backbone = plan_backbone(config)

    @cached_property
    def encoders(self) -> Encoders:
        """Loaded, and the empty caption is in the cache."""
        model = self.config.model
        loaded = self.backbone.encoders.load(model.path, DTYPES[model.precision], model.revision)
        loaded.to(self.accelerator.device)
        self.cache.write("empty", {"prompt": loaded.empty(self.config.data.max_tokens)[0]}, {})
        return loaded

    def fill(self, split: Split, lacking: list[str], console: Console) -> int:
        """How many clips of the split were encoded."""
        data, done = self.config.data, 0
        grid = self.backbone.grid(data.frames, data.height, data.width)
        together = Collate(grid.frames, grid.height, grid.width)
        tokenizer = self.backbone.encoders.read_tokenizer(self.config.model.path, self.config.model.revision)
        dataset = MatrixDataset(data, split, tokenizer, seed=0)
        places = {key: place for place, key in enumerate(dataset.plan.order(0))}
        mine = lacking[self.accelerator.process_index :: self.accelerator.num_processes]
        quiet = not self.accelerator.is_main_process or not mine
        for key in track(mine, split, console=console, disable=quiet):
            batch = together([dataset[Ref(0, places[key], places[key])]])
            if isinstance(batch, GaveUp):
                raise UserError(batch.message or "; ".join(map(str, batch.bad[:5])))
            if batch.keys[0] == key:
                there = batch.to(self.accelerator.device)
                known = self.encoders.encode(there.video, there.id_map, there.input_ids)
                made_from = sources(batch, 0) | listed_sources(
                    batch.captions[0], batch.media[0], dataset.labels.of(key)
                )
                self.cache.write(key, {name: value[0] for name, value in known.items()}, made_from)
                done += 1
        return done
