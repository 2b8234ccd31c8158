"""Servers that benchmarks and tests start on loopback: waited for by their health, ended by their ids, logs kept."""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

running: list["Server"] = []
"""The servers that this process has up, the newest last: whoever reports a failure shows their logs."""


@dataclass
class Server:
    """A process under way, with the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    launch: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[], bool]

    def tail(self, characters: int = 3000) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-characters:]

    def wait(self, timeout_s: float = 240.0) -> None:
        """Until it is ready. RuntimeError with the end of its log when it does not come up."""
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.tail()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9, for it and for all that it has started, as when a machine goes."""
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, 20)

    def again(self) -> None:
        """Start it once more, after it was killed."""
        self.process = self.launch()
        self.wait()


def free_port() -> int:
    """A TCP port of loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections at this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    ready: Callable[[], bool],
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
    timeout_s: float = 240.0,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """Start a server and yield it when `ready()`; at the end `stop` is sent, and what is left after 20 s is killed.

    RuntimeError with the end of its log when it does not come up. user: who runs it, for one that refuses root.
    """

    def launch() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                list(map(str, command)),
                env=dict(env) if env is not None else None,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
                cwd=cwd,
            )

    server = Server(name, launch(), log, launch, ready)
    running.append(server)
    try:
        server.wait(timeout_s)
        yield server
    finally:
        end(server.process, stop)
        running.remove(server)


def end(process: subprocess.Popen[bytes], stop: signal.Signals = signal.SIGTERM, patience_s: float = 20.0) -> None:
    """Ask a process to stop; kill it and what it started where that takes longer than `patience_s`."""
    if process.poll() is not None:
        return
    started_by_it = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(stop)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in started_by_it:  # psutil knows them by start time too: an id that somebody else has got is left alone
        if left.is_running():
            left.kill()


def as_nobody() -> str | None:
    """A user for servers that refuse to run as root; None where we are not root."""
    return "nobody" if os.geteuid() == 0 else None
