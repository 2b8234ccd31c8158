"""MATRIX in miniature: who does what to whom, by a model small enough for two cores, in a world whose truth is known.

    python -m benchmarks.miniature --folder build/miniature --stage all
    python -m benchmarks.miniature --folder build/miniature --stage all --size large      # with a GPU at hand

Stages: render (clips to train on, and pictures to be asked about), code (the linear video code), base (a model of a
seed trained as plain diffusion). What is there already is not made again, and a base that was killed goes on from where
it was saved last. docs/training/miniature.md says what each stage takes, and what is still to come.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.miniature.base import base_of_seed, make_code
from benchmarks.miniature.render import render_asked, render_dataset
from benchmarks.miniature.sizes import SIZES


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stage", choices=("all", "render", "code", "base"), default="all")
    options = parser.parse_args(argv)
    folder, size = options.folder.resolve() / options.size, SIZES[options.size]

    def render() -> None:
        render_dataset(folder / "dataset", size)
        render_asked(folder / "asked", size)

    def base() -> None:
        for seed in range(options.seeds):
            base_of_seed(folder, size, seed)

    stages: dict[str, Callable[[], None]] = {
        "render": render, "code": lambda: make_code(folder / "code", size), "base": base,
    }  # fmt: skip
    print(size, flush=True)
    for name, stage in stages.items():
        if options.stage in ("all", name):
            began = time.perf_counter()
            stage()
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
