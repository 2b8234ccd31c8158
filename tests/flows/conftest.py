"""A small rendered bucket and a way to run the command line as a user would: in a process of its own."""

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.setting.prefect_server import prefect_server
from tasks.world import render_bucket
from tests import permissions
from tests.flows.building import QUICK, sidecar
from tests.forked import forks


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
def commands(server):
    """Where `matrix_data` is forked from."""
    with forks(server, ["flows.cli", "flows.build"]) as found:
        yield found


@pytest.fixture(scope="session")
def forked(commands, tmp_path_factory):
    """Run `main` (module:function) with arguments in a fork."""
    folder, count = tmp_path_factory.mktemp("told"), itertools.count()

    def run(main: str, *arguments: object) -> Ended:
        out, errors = (folder / f"{next(count)}-{name}" for name in ("out", "errors"))
        code = commands.start(main, arguments, out, errors).wait()
        return Ended(code, out.read_text(), errors.read_text())

    return run


@pytest.fixture(scope="session")
def matrix_data(forked, server):
    """Run `matrix_data` with arguments in a process of its own, against the test's server.

    A fork of one that has imported Prefect saves seconds a call. With variables of its own it is started as a user
    would, for Prefect reads them while it is imported.
    """

    def run(*arguments: object, **more: str) -> Ended:
        if not more:
            return forked("flows.cli:main", *arguments)
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        done = subprocess.run(command, env=server | more, capture_output=True, text=True, timeout=280)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def matrix_data_obeying(forked):
    """The same for a user who is bound by file permissions."""

    def run(*arguments: object) -> Ended:
        ended = forked("tests.permissions:matrix_data", *arguments)
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
