"""A small rendered bucket and a way to run the command line as a user would: in a process of its own."""

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.prefect_server import prefect_server
from flows import cli
from tasks.world import render_bucket
from tests import permissions
from tests.flows.building import QUICK, sidecar
from tests.forked import preload, run_forked


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The environment of a running Prefect server; one for all tests of a worker process, for its start costs ~10 s."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as env:
        yield env


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A rendered folder: raw/, captions, truth/. Two plain scenes and one of every broken kind."""
    folder = tmp_path_factory.mktemp("rendered") / "world"
    render_bucket(folder, videos=2, seed=4, level="plain", broken=True)
    return folder


@pytest.fixture(scope="session")
def matrix_data(server, tmp_path_factory):
    """Run `matrix_data` with arguments in a process of its own, against the test's server.

    A fork of one that has imported Prefect saves seconds a call. With variables of its own it is started as a user
    would, for Prefect reads them while it is imported.
    """
    folder, count = tmp_path_factory.mktemp("told"), itertools.count()
    preload(["flows.cli", "flows.build"], server)

    def run(*arguments: object, **more: str) -> Ended:
        words = list(map(str, arguments))
        if more:
            return started([sys.executable, "-m", "flows.cli", *words], server | more)
        out, errors = (folder / f"{next(count)}-{name}" for name in ("out", "errors"))
        code = run_forked(cli.main, words, out, errors, server)
        return Ended(code, out.read_text(), errors.read_text())

    return run


def started(command: list[object], environment: dict[str, str]) -> Ended:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def matrix_data_obeying(server):
    """The same for a user who is bound by file permissions."""

    def run(*arguments: object) -> Ended:
        ended = started(
            [sys.executable, permissions.__file__, sys.executable, "-m", "flows.cli", *map(str, arguments)], server
        )
        if ended.code == permissions.UNABLE:
            pytest.skip("this machine does not let root give powers away")
        return ended

    return run


@pytest.fixture(scope="session")
def built(matrix_data, world, tmp_path_factory) -> Path:
    """The out folder of a build over `world`. Tests that change it work on a copy."""
    out = tmp_path_factory.mktemp("built") / "out"
    ended = matrix_data("build", world / "raw", "--captions", sidecar(world), "--out", out, *QUICK, "--json")
    assert ended.code == 0, ended.errors
    assert ended.json["dataset"]
    return out
