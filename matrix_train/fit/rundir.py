"""The run folder: made fresh or found again, never overwritten by accident."""

import fcntl
import os
import platform
import weakref
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from matrix_train.config import Config, dump_config
from matrix_train.errors import UserError
from matrix_train.files import write_json, write_whole
from matrix_train.fit.checkpoint import checkpoints

CONFIG_FILE, VERSIONS_FILE, METRICS_FILE, LOCK_FILE = "config.yaml", "versions.json", "metrics.jsonl", "lock"
PACKAGES = ("matrix-11k", "torch", "diffusers", "transformers", "peft", "accelerate", "av", "webdataset")


class RunFolder:
    """A run's folder, held by this process until `release` or its end."""

    def __init__(self, path: Path, resume: bool) -> None:
        """Makes the folder where it is not there. `latest`: the newest checkpoint, for resuming.

        UserError where a run is there already and `resume` is not asked for, and where another process trains in it.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
            self.release = weakref.finalize(self, os.close, lock)
            """Lets other processes train here. Safe to repeat."""
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process trains in {path}: wait for it, or set another train.out") from None
        except OSError as error:
            raise UserError(f"cannot write to {path}: {error.strerror}; set another train.out") from None
        found = checkpoints(path)
        if not resume and (found or (path / METRICS_FILE).exists()):
            self.release()
            raise UserError(f"{path} holds a run: go on with it by --resume auto, or set another train.out")
        self.latest = found[-1] if found else None

    def write_settings(self, config: Config) -> None:
        """Effective configuration and versions; once it is known that the run may go on with them. UserError."""
        try:
            write_whole(self.path / CONFIG_FILE, dump_config(config))
            write_json(self.path / VERSIONS_FILE, versions())
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}; set another train.out") from None


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a step computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that runs without being installed
            found[package] = "not installed"
    return found
