"""The run folder: made fresh or found again, never overwritten by accident."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from matrix_train.checkpoint import checkpoints
from matrix_train.config import Config, dump_config
from matrix_train.errors import UserError

CONFIG_FILE, VERSIONS_FILE, METRICS_FILE = "config.yaml", "versions.json", "metrics.jsonl"
PACKAGES = ("matrix-11k", "torch", "diffusers", "transformers", "peft", "accelerate", "av", "webdataset")


def open_run(run: Path, config: Config, resume: bool) -> Path | None:
    """Makes the run folder and saves configuration and versions in it; the newest checkpoint when resuming.

    UserError where a run is there already and `resume` is not asked for.
    """
    found = checkpoints(run)
    if not resume and (found or (run / METRICS_FILE).exists()):
        raise UserError(f"{run} holds a run: go on with it by --resume auto, or set another train.out")
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
        (run / VERSIONS_FILE).write_text(json.dumps(versions(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {run}: {error.strerror}; set another train.out") from None
    return found[-1] if found else None


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a step computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that runs without being installed
            found[package] = "not installed"
    return found
