"""Small runs of the real trainer: clips of `tests.builders`, a tiny pipeline of random weights, steps of a second."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from matrix_train.config import Config, load_config
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
SMALL = (
    "data.frames=9", "data.height=64", "data.width=96", "data.frame_step=1", "data.workers=0", "train.steps=6",
    "optim.warmup=2", "validation.every=0", "checkpoint.every=2", "checkpoint.minutes=0", "log.every=1", "log.to=[]",
)  # fmt: skip
TIMES = {"seconds_per_step", "data_wait", "mfu", "hfu", "peak_gb"}
"""Numbers of a step that no two runs share."""


def settings(dataset: Path, out: Path, *more: str) -> list[str]:
    """`--set` values of a small run. The model folder lies beside the data set, so that runs share its weights."""
    model = dataset.parent / "model"
    return [*SMALL, f"data.dataset={dataset}", f"model.path={model}", f"train.out={out}", *more]


def small_config(dataset: Path, out: Path, *more: str) -> Config:
    config = load_config(TINY, settings(dataset, out, *more))
    make_random_model(config)
    return config


def start(config: Config, resume: bool = False) -> Run:
    return Run(config, make_accelerator(config), Console(quiet=True)).start(resume)


def metrics(run: Path) -> list[dict[str, Any]]:
    """Every line of numbers but times, as text-exact values."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def launch(processes: int, port: int, *arguments: str) -> "subprocess.Popen[str]":
    """`matrix_train fit` in a process group of its own, one thread a process; several talk over gloo on loopback."""
    command = [sys.executable, "-m", "matrix_train", "fit", str(TINY), *arguments]
    if processes > 1:
        launcher = ["torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}", "-m"]
        command = [sys.executable, "-m", *launcher, *command[2:]]
    return subprocess.Popen(
        command, env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, cwd=TINY.parents[1],
    )  # fmt: skip


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]
