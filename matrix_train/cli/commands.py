"""What the commands of `matrix_train` do, in the order they do it."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from matrix_train.backbones import backbone_named
from matrix_train.backbones.configured import plan_backbone
from matrix_train.bench import BenchOptions, bench, climb, describe
from matrix_train.config import Config, load_config
from matrix_train.data import Split, read_index
from matrix_train.data.inspect import inspect
from matrix_train.errors import UserError
from matrix_train.export.export import EXPORT_FILE, LORA_FILE, check_comfy_keys, export, merge
from matrix_train.fit.allocator import keep_freed_memory
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.distributed import make_accelerator, told_when_left
from matrix_train.fit.logs import check_loggers
from matrix_train.fit.precompute import looked_into
from matrix_train.fit.precompute import precompute as fill_cache
from matrix_train.fit.run import Run
from matrix_train.plan.plan import lines, plan_run
from schemas.text import one_line


def fit_command(config: Config, resume: bool, precompute: bool, dry_run: bool, console: Console) -> dict[str, Any]:
    """`fit`, and its two forms that do not train."""
    check_loggers(config.log)
    quieten_libraries()
    if not dry_run:
        read_index(config.data, "train")  # a wrong data set is told before a model is loaded and a run folder made
    accelerator = make_accelerator(config)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    if accelerator.is_main_process:
        make_random_model(config)
    accelerator.wait_for_everyone()
    if precompute:
        with told_when_left():
            return {"encoded": fill_cache(config, accelerator, console), "cache": config.train.cache}
    if dry_run:
        config, lacking = looked_into(config, accelerator, console)
        plan = plan_run(config, accelerator.device, fills=lacking > 0)
        for line in lines(plan):
            console.print(line, highlight=False, soft_wrap=True)
        return asdict(plan) | {"memory_bytes": plan.memory_bytes}
    with told_when_left(), told_when_full(smaller(config)):
        result = Run(config, accelerator, console).start(resume, fill=True).train()
    return {"run": str(result.run), "step": result.step, "losses": result.losses, "validation": result.validation}


def smaller(config: Config) -> str:
    """What would make this run fit on a GPU: settings that are not set so already, what costs least first."""
    fp32 = config.model.precision == "fp32"
    one = config.train.parallel == "ddp" and config.model.checkpointing != "none"
    eager = " (with model.compile=false)" if config.model.compile else ""
    ways = {
        "train.cache": config.train.cache is None,
        "validation.videos=0": bool(config.validation.every and config.validation.videos),
        "model.precision=bf16": fp32,
        "model.checkpointing=selective": config.model.checkpointing == "none",
        "model.checkpointing=full": config.model.checkpointing == "selective",
        f"model.swap, the number of blocks to keep in the host's memory{eager}": one and not config.model.swap,
        "model.frozen=fp8": one and config.model.frozen == "precision",
        "a lower train.batch_size (and a higher train.accumulate)": config.train.batch_size > 1,
        "train.parallel=fsdp on several GPUs": config.train.parallel == "ddp",
        "fewer data.frames or a smaller data.height and data.width": True,
    }
    return f"set {', or '.join(way for way, helps in ways.items() if helps)}; --dry-run says what takes how much"


@contextmanager
def told_when_full(advice: str) -> Iterator[None]:
    """A GPU out of memory as one line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"{str(error).split('. ')[0]}: {advice}") from None


def quieten_libraries() -> None:
    """A bar for each file they load would bury the run's own line, and what they say to each other is nobody's."""
    warnings.filterwarnings("ignore", "The `local_dir_use_symlinks` argument", UserWarning)
    for library in (transformers, diffusers):
        library.utils.logging.disable_progress_bar()


def inspect_command(
    path: Path, overrides: list[str], out: Path, split: Split, batches: int, position: int, console: Console
) -> dict[str, Any]:
    """`inspect`, of the batches that this configuration would train on."""
    config = load_config(path, overrides)
    quieten_libraries()
    make_random_model(config)
    backbone = plan_backbone(config)
    encoder = backbone.encoders.read_tokenizer(config.model.path, config.model.revision)
    grid = backbone.grid(config.data.frames, config.data.height, config.data.width)
    found = inspect(
        config.data, split, encoder, grid, out, batches, config.train.batch_size, config.train.seed, position, console
    )
    return asdict(found) | {"sheets": [str(sheet) for sheet in found.sheets]}


def bench_command(
    backbone: str | None,
    device: str,
    mode: str,
    rounds: int | None,
    blocks: int | None,
    heads: int | None,
    stride: int,
    dense: bool,
    ladder: bool,
    rungs: list[int],
    console: Console,
) -> dict[str, Any]:
    """`bench`, and its ladder of techniques, each rung told when it is done."""
    try:
        options = TypeAdapter(BenchOptions).validate_python(
            {"device": device, "mode": mode, "rounds": rounds, "blocks": blocks, "heads": heads,
             "supervise_stride": stride, "dense": dense} | ({"backbone": backbone} if backbone else {})
        )  # fmt: skip
    except ValidationError as error:
        raise UserError(f"bench: {one_line(error)}") from None
    if ladder or rungs:
        found = []
        for rung in climb(options, rungs):
            console.print(str(rung), highlight=False, soft_wrap=True)
            found.append(asdict(rung))
        return {"ladder": found}
    with told_when_full("the whole model does not fit here: give fewer --blocks or --heads"):
        result = bench(options)
    console.print(describe(result), highlight=False, soft_wrap=True)
    return asdict(result)


def export_command(
    run: Path, out: Path, checkpoint: Path | None, merged: bool, base: str | None, console: Console
) -> dict[str, Any]:
    """`export`: the files, and whether a loader of diffusers names would take every key."""
    quieten_libraries()
    if merged:
        folder = merge(run, out, checkpoint, base)
        console.print(f"merged transformer in {folder}")
        return {"out": str(folder), "merged": True}
    if base is not None:
        raise UserError("--base-path would change nothing: only --merged reads the base model")
    folder = export(run, out, checkpoint)
    record = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
    unmatched = check_comfy_keys(folder / LORA_FILE, backbone_named(record["backbone"]))
    if unmatched:
        raise RuntimeError(f"keys that no module answers to: {unmatched[:3]}")
    console.print(f"LoRA and input projection in {folder}; every key names a module (ComfyUI, diffusers)")
    return {"out": str(folder), "merged": False, "unmatched_keys": unmatched}
