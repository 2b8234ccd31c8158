"""Small runs of the real trainer: clips of `tests.builders`, a tiny pipeline of random weights, steps of a second."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from torch.distributed import TCPStore

from benchmarks.setting.processes import free_port
from matrix_train.config import Config, load_config
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.run import Run
from tests.forked import Fork, Forks

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
SMALL = (
    "data.frames=9", "data.height=64", "data.width=96", "data.frame_step=1", "data.workers=0", "train.steps=6",
    "optim.warmup=2", "validation.every=0", "checkpoint.every=2", "checkpoint.minutes=0", "log.every=1", "log.to=[]",
)  # fmt: skip
ON_CPU = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
"""One thread a process; several talk over gloo on loopback."""
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


def launch(processes: int, *arguments: str) -> "subprocess.Popen[str]":
    """`matrix_train fit` as users start it, in a process group of its own; several processes by torchrun."""
    command = [sys.executable, "-m", "matrix_train", "fit", str(TINY), *arguments]
    if processes > 1:
        launcher = ["torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={free_port()}", "-m"]
        command = [sys.executable, "-m", *launcher, *command[2:]]
    return subprocess.Popen(
        command, env=os.environ | ON_CPU, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, cwd=TINY.parents[1],
    )  # fmt: skip


@dataclass(frozen=True)
class Trainer:
    """The same without 10 s of imports a process: forks, with the variables and the store that torchrun would give."""

    forks: Forks
    folder: Path
    stores: list[TCPStore] = field(default_factory=list)

    def start(self, processes: int, *arguments: str) -> list[Fork]:
        """One for each rank."""
        # torchrun's agent holds the store, not the first rank, whose end would take it away from the others.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.stores.append(store)
        shared = {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(processes),
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
        }  # fmt: skip
        started = []
        for rank in map(str, range(processes)):
            said = self.folder / f"{len(self.stores)}-{rank}"
            variables = {"RANK": rank, "LOCAL_RANK": rank, **shared} if processes > 1 else {}
            main, words = "matrix_train.cli.app:main", ["fit", TINY, *arguments]
            started.append(self.forks.start(main, words, said, said, cwd=TINY.parents[1], **variables))
        return started

    def finish(self, processes: int, *arguments: str) -> None:
        """To the end, which must be a good one."""
        started = self.start(processes, *arguments)
        try:
            for fork in started:
                assert fork.wait() == 0, fork.out.read_text()
        finally:
            for fork in started:
                fork.kill()


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]
