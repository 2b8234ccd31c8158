"""A Prefect server on loopback for benchmarks and tests: its own home folder, a free port, ended by its process id.

`benchmarks.setting.production` has the server of several processes.
"""

import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.setting.processes import Server, free_port, started

PREFECT = (sys.executable, "-m", "prefect")


@contextmanager
def prefect_server(home: Path, timeout_s: float = 240.0) -> Iterator[dict[str, str]]:
    """Start a server; yields the environment that points at it. RuntimeError with its log when it does not come up."""
    env = server_env(home, free_port())
    with serving(env, home, timeout_s=timeout_s):
        yield client_env(env)


def server_env(home: Path, port: int) -> dict[str, str]:
    """The environment of a server at `port` whose files are under `home`."""
    home.mkdir(parents=True, exist_ok=True)
    return os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
    }


def client_env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of those who talk to the server of `env`: it says where, and nothing of how the server runs."""
    url = env["PREFECT_UI_API_URL"]
    mine = {name: value for name, value in env.items() if not name.startswith("PREFECT_")}
    return mine | {"PREFECT_HOME": env["PREFECT_HOME"], "PREFECT_API_URL": url, "PREFECT_UI_API_URL": url}


@contextmanager
def serving(
    env: Mapping[str, str], home: Path, *options: str, timeout_s: float = 240.0, name: str = "Prefect's server"
) -> Iterator[Server]:
    """`prefect server start` with these options, up when its health says so."""
    url = f"{env['PREFECT_UI_API_URL']}/health"
    host, port = env["PREFECT_SERVER_API_HOST"], env["PREFECT_SERVER_API_PORT"]
    command = [*PREFECT, "server", "start", "--host", host, "--port", port, *options]
    with started(name, command, home / "server.log", lambda: answers(url), env=env, timeout_s=timeout_s) as server:
        yield server


def answers(url: str) -> bool:
    """Whether a GET of `url` ends well."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False
