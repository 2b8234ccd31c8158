"""Where a run's numbers go: metrics.jsonl always, TensorBoard or wandb as configured, one Rich line on the terminal."""

import importlib.util
import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from matrix_train.config import Config, LogConfig
from matrix_train.errors import UserError
from matrix_train.files import write_whole
from matrix_train.fit.rundir import METRICS_FILE

WIDE = 140
"""Columns of a terminal from which every part of the loss, a bar and the time so far have room."""

VALIDATION = "val."
"""How the names of a validation's numbers begin."""


class Logger(Protocol):
    """A service that takes scalars."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, run: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional

        # purge_step hides what a killed run logged beyond the checkpoint that we go on from.
        self.writer: Any = SummaryWriter(str(run / "tensorboard"), purge_step=start)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name.replace(".", "/", 1), value, step)

    def close(self) -> None:
        self.writer.close()


class _Wandb:
    def __init__(self, run: Path, config: Config) -> None:
        import wandb  # optional, see `check_loggers`

        # Two runs may have folders of one name; wandb would take the second for the first one's continuation.
        identity = run / "wandb_id"
        if not identity.exists():
            write_whole(identity, secrets.token_hex(8) + "\n")
        self.run: Any = wandb.init(
            project="matrix", name=run.name, id=identity.read_text(encoding="ascii").strip(), dir=str(run),
            resume="allow", config=config.model_dump(),
        )  # fmt: skip

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


def check_loggers(config: LogConfig) -> None:
    """UserError for a service whose package is missing: before a model is loaded."""
    if "wandb" in config.to and importlib.util.find_spec("wandb") is None:
        raise UserError("log.to names wandb, which is not installed: pip install wandb, or leave it out")


class RunLog:
    """Numbers by step. Only the main process makes one."""

    def __init__(self, run: Path, config: Config, start: int, console: Console) -> None:
        """start: steps done. Lines of metrics.jsonl from later steps, which a killed run left, are cut off."""
        path = run / METRICS_FILE
        kept = _cut(path, start)
        self.validations = [line for line in kept if any(name.startswith(VALIDATION) for name in line)]
        """Lines of the file that hold a validation, each with its `step`."""
        trained = [line for line in kept if line not in self.validations]
        self.last: tuple[dict[str, float], dict[str, float]] = (_values(trained), _values(self.validations))
        """Numbers of the last step and of the last validation in the file; empty where there are none."""
        self._loggers: list[Logger] = []
        if "tensorboard" in config.log.to:
            self._loggers.append(_TensorBoard(run, start))
        if "wandb" in config.log.to:
            self._loggers.append(_Wandb(run, config))
        self._file = path.open("a", encoding="utf-8")
        self._console, self._steps = console, config.train.steps
        self.wide = not console.is_terminal or console.width >= WIDE
        """Whether a line has room for more than what must be seen."""
        columns: list[ProgressColumn] = [_text("{task.completed:.0f}/{task.total:.0f}"), _text("{task.fields[say]}")]
        if self.wide:
            columns[1:1] = [BarColumn(bar_width=20)]
            columns += [TimeElapsedColumn()]
        self._progress = Progress(
            *columns, TimeRemainingColumn(compact=True), console=console, refresh_per_second=2,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID = self._progress.add_task("fit", total=config.train.steps, completed=start, say="")

    def has_validated(self, step: int) -> bool:
        """Whether the file holds this step's validation."""
        return any(line["step"] == step for line in self.validations)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """step: optimiser steps done when the numbers were taken."""
        # JSON has no NaN: what is not finite is null there.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step} | finite
        if any(name.startswith(VALIDATION) for name in line):
            self.validations.append(line)
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for logger in self._loggers:
            logger.scalars(values, step)

    def advance(self, step: int, say: str) -> None:
        """The line on the terminal; where output goes to a file, a line of it."""
        self._progress.update(self._task, completed=step, say=say)
        if not self._console.is_terminal:
            self._console.print(f"{step}/{self._steps} {say}", highlight=False, soft_wrap=True)

    def sync(self) -> None:
        """Before a checkpoint: what is logged up to it must not be lost with the machine."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()
        for logger in self._loggers:
            logger.close()


def _text(format_: str) -> TextColumn:
    """A column that is never broken into lines or cut: a number without its end is another number."""
    return TextColumn(format_, table_column=Column(no_wrap=True, overflow="ignore"))


def _cut(path: Path, start: int) -> list[dict[str, Any]]:
    """Leaves the lines up to step `start`, and returns them."""
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found = json.loads(line)
        except ValueError:  # the line that a killed run was writing
            break
        if found["step"] <= start:
            kept.append(found)
    write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _values(lines: list[dict[str, Any]]) -> dict[str, float]:
    return {name: value for name, value in lines[-1].items() if name != "step"} if lines else {}
