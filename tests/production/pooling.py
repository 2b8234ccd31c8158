"""What the production tests of builds share: a small world, the command line, objects of a bucket."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

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
        command(*arguments), env=dict(env), cwd=ROOT, capture_output=True, text=True, timeout=800, check=False
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

    def files(self, out: str, below: str = "") -> dict[str, bytes]:
        """What lies below an out folder, or below one in it, by name. Nobody may take it away meanwhile."""
        root = f"{self.room}/{out}/"
        if "://" not in root:
            paths = [path for path in (Path(root) / below).rglob("*") if path.is_file()]
            return {str(path.relative_to(root)): path.read_bytes() for path in paths}
        name, _, prefix = root.removeprefix("s3://").partition("/")
        with objects_of(self.env["AWS_ENDPOINT_URL"], name) as there:
            found = there.objects.filter(Prefix=prefix + below)
            return {item.key.removeprefix(prefix): item.get()["Body"].read() for item in found}

    def dataset(self, out: str) -> dict[str, bytes]:
        """The files of its dataset, by name."""
        return self.files(out, "dataset/")


@contextmanager
def objects_of(endpoint: str, name: str) -> Iterator[Any]:
    """A bucket, by a client that leaves no connection behind as fsspec's do."""
    secret = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    s3 = boto3.resource("s3", endpoint_url=endpoint, **secret)
    try:
        yield s3.Bucket(name)
    finally:
        s3.meta.client.close()


def into_bucket(world: Path, endpoint: str, name: str, env: Mapping[str, str]) -> Place:
    """A new bucket with the world in it. env: of clients of a Prefect server."""
    with objects_of(endpoint, name) as there:
        there.create()
        for path in (world / "raw").iterdir():
            there.upload_file(str(path), f"raw/{path.name}")
        there.upload_file(str(world / "captions.csv"), "captions.csv")
    env = {**env, **ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}
    return Place(f"s3://{name}/raw", f"s3://{name}/captions.csv", f"s3://{name}", env)
