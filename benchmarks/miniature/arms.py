"""The arms of a seed, from its base, each a run of the product's own trainer with the recipe's alignment."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.effect.__main__ import place
from benchmarks.effect.arms import paper_arms
from benchmarks.miniature.base import config_of
from benchmarks.miniature.sizes import Size
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run


def train_arms(folder: Path, size: Size, seed: int, chosen: Sequence[str]) -> None:
    """Each goes on from its newest checkpoint; a run that has taken its last step is not begun again."""
    for arm, settings in paper_arms().items():
        out = place(folder, arm, seed)
        if arm not in chosen or (out / "done").exists():
            continue
        sets = settings | {
            "model.path": folder / f"seed{seed}" / "base", "train.out": out, "train.steps": size.steps,
            "validation.every": size.steps, "validation.videos": 0, "validation.clips": 16,
        }  # fmt: skip
        config = config_of(folder, size, seed, [f"{name}={value}" for name, value in sets.items()])
        Run(config, make_accelerator(config), Console(quiet=True)).start(resume=True).train()
        (out / "done").touch()
        print(f"{arm}, seed {seed}: trained", flush=True)
