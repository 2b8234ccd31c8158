"""MATRIX in miniature: who does what to whom, by a model small enough for two cores, in a world whose truth is known.

    python -m benchmarks.miniature --stage all
    python -m benchmarks.miniature --stage all --size medium     # with a GPU at hand

Stages: render (clips to train on, and pictures to be asked about), code (the linear video code), model (of a seed, of
random weights, with the cache of its latents), base (the same trained as plain diffusion), look (videos of the bases
alone, judged, and a sheet), arms (LoRA with and without the losses, by `matrix_train.fit`), sample (every arm's videos,
by `matrix_train.sample`), judge (all of them, from their tracks), report (tables, pictures and a page; the last line
printed is JSON). What is there already is not made again, and what was killed goes on from where it was saved last.
From model to sample seeds have nothing in common, nor have arms: with `--seeds 0` and `--seeds 1 2`, or with `--arms`,
processes share the work. docs/training/miniature.md says what each stage takes;
docs/decisions/0017-miniature-who-does-it.md says what is compared.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.miniature.arms import train_arms
from benchmarks.miniature.base import base_of_seed, make_code, model_of_seed
from benchmarks.miniature.judge import judge_arms, judge_true
from benchmarks.miniature.render import render_asked, render_dataset
from benchmarks.miniature.report import report
from benchmarks.miniature.sample import ARMS, BASE, sample_arms, sample_base
from benchmarks.miniature.sizes import SIZES

STAGES = ("render", "code", "model", "base", "look", "arms", "sample", "judge", "report")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/miniature"))
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="those that are worked on, or reported")
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=ARMS, help="those that are trained, sampled, judged")
    parser.add_argument("--stage", choices=("all", *STAGES), nargs="+", default=["all"])
    parser.add_argument("--workers", type=int, help="processes of each run that read clips ahead; as the size has it")
    options = parser.parse_args(argv)
    folder, size, seeds = options.folder.resolve() / options.size, SIZES[options.size], options.seeds
    if options.workers is not None:
        size = replace(size, workers=options.workers)

    def render() -> None:
        render_dataset(folder / "dataset", size)
        render_asked(folder / "asked", size)

    def look(seed: int) -> None:
        sample_base(folder, size, seed)
        judge_arms(folder, seed, [BASE])

    def judge() -> None:
        judge_true(folder)
        for seed in seeds:
            judge_arms(folder, seed, options.arms)

    def of_seeds(make: Callable[[int], None]) -> Callable[[], None]:
        def run() -> None:
            for seed in seeds:
                make(seed)

        return run

    stages: dict[str, Callable[[], None]] = {
        "render": render,
        "code": lambda: make_code(folder / "code", size),
        "model": of_seeds(lambda seed: model_of_seed(folder, size, seed)),
        "base": of_seeds(lambda seed: base_of_seed(folder, size, seed)),
        "look": of_seeds(look),
        "arms": of_seeds(lambda seed: train_arms(folder, size, seed, options.arms)),
        "sample": of_seeds(lambda seed: sample_arms(folder, size, seed, options.arms)),
        "judge": judge,
        "report": lambda: report(folder, size, seeds),
    }
    print(size, flush=True)
    for name in STAGES:
        if {"all", name} & {*options.stage}:
            began = time.perf_counter()
            stages[name]()
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
