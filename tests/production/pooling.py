"""What the production tests of builds share: a small world, the command line, objects of a bucket."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from tests.buckets import ENVIRONMENT
from tests.flows.building import QUICK

ROOT = Path(__file__).parents[2]

SETTINGS = (*QUICK, "--set", "run.chunk=3", "--set", "run.batch=1")
"""Two chunks of clips out of four videos, and a moment between any two clips."""


def command(*arguments: object) -> list[str]:
    """`matrix_data` with these arguments."""
    return [sys.executable, "-m", "flows.cli", *map(str, arguments)]


def ended(env: Mapping[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """`matrix_data`, run to its end."""
    return subprocess.run(
        command(*arguments), env=dict(env), cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )


@dataclass(frozen=True)
class Place:
    """Raw videos, their captions, and room for out folders: on disk, or in a bucket."""

    raw: str
    captions: str
    room: str
    env: Mapping[str, str]

    def build(self, out: str, *more: str) -> list[str]:
        """Arguments of a build into the folder `out`."""
        return ["build", self.raw, "--captions", self.captions, "--out", f"{self.room}/{out}", *SETTINGS, *more]

    def names(self, out: str) -> set[str]:
        """What lies below an out folder now."""
        fs, root = self._at(out)
        return {name.removeprefix(f"{root}/") for name in fs.find(root)}

    def files(self, out: str) -> dict[str, bytes]:
        """The same, with what is in it. Nobody may be at work there."""
        fs, root = self._at(out)
        return {name: fs.cat_file(f"{root}/{name}") for name in sorted(self.names(out))}

    def dataset(self, out: str) -> dict[str, bytes]:
        """The files of its dataset, by name."""
        return {name: data for name, data in self.files(out).items() if name.startswith("dataset/")}

    def _at(self, out: str) -> tuple[Any, str]:
        at = {"endpoint_url": self.env["AWS_ENDPOINT_URL"], "use_listings_cache": False} if "://" in self.room else {}
        if at:
            os.environ.update(ENVIRONMENT)
        fs, root = fsspec.core.url_to_fs(f"{self.room}/{out}", **at)
        return fs, str(root)


def into_bucket(world: Path, endpoint: str, name: str, env: Mapping[str, str]) -> Place:
    """A new bucket with the world in it. env: of clients of a Prefect server."""
    os.environ.update(ENVIRONMENT)
    fs = fsspec.filesystem("s3", endpoint_url=endpoint, use_listings_cache=False)
    fs.mkdir(name)
    for path in (world / "raw").iterdir():
        fs.put_file(str(path), f"{name}/raw/{path.name}")
    fs.put_file(str(world / "captions.csv"), f"{name}/captions.csv")
    env = {**env, **ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}
    return Place(f"s3://{name}/raw", f"s3://{name}/captions.csv", f"s3://{name}", env)
