"""Commands in processes of their own that do not pay for their imports: 2 s each for Prefect's, 10 for a trainer's.

A server process has imported what the commands need, and forks for each of them. Such a child is a command as any
other: it has a session, streams and an environment of its own, starts its own helpers, and ends as the interpreter
ends. What is read from the environment while it is imported, as Prefect does, is that of the server, and children of
one server share a hash seed. multiprocessing's fork server would not do: a process and its children have one only.

    with forks(environment, ["flows.cli", "flows.build"]) as commands:
        code = commands.start("flows.cli:main", ["status", "out"], folder / "out", folder / "errors").wait()
"""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass
class Forks:
    """The test's end of the server. `ended`: exit codes by process id, of those that were told."""

    channel: socket.socket
    environment: Mapping[str, str]
    ended: dict[int, int] = field(default_factory=dict)
    _rest: bytes = b""

    def start(
        self, main: str, words: Sequence[object], out: Path, errors: Path, cwd: Path | None = None, **more: str
    ) -> "Fork":
        """Run `main` (module:function) with these words, in a session of its own. more: variables beside the server's.

        `out` and `errors` may be one file.
        """
        request = {
            "main": main, "words": list(map(str, words)), "out": str(out), "errors": str(errors),
            "cwd": str(cwd or Path.cwd()), "environment": {**self.environment, **more},
        }  # fmt: skip
        for path in (out, errors):
            path.write_bytes(b"")
        self.channel.sendall(json.dumps(request).encode() + b"\n")
        while (told := self.hear(240)) is None or "started" not in told:  # it may still import, on a busy machine
            assert told, "the server does not fork"
        return Fork(self, told["started"], out, errors)

    def hear(self, timeout_s: float) -> dict[str, int] | None:
        """What the server says next: a start, or an end, which is kept. None where it says nothing."""
        while b"\n" not in self._rest:
            if not select.select([self.channel], [], [], timeout_s)[0]:
                return None
            said = self.channel.recv(4096)
            assert said, "the server of forks has died"
            self._rest += said
        line, self._rest = self._rest.split(b"\n", 1)
        told: dict[str, int] = json.loads(line)
        if "ended" in told:
            self.ended[told["ended"]] = told["code"]
        return told


@dataclass
class Fork:
    """A command under way, as `subprocess.Popen` is: an exit code below zero is that of a signal."""

    forks: Forks
    pid: int
    out: Path
    errors: Path

    def poll(self) -> int | None:
        while self.forks.hear(0):
            pass
        return self.forks.ended.get(self.pid)

    def wait(self, timeout_s: float = 280.0) -> int:
        """Its exit code; where it takes too long, it is killed and the test fails with what it said."""
        deadline = time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            if (left := deadline - time.monotonic()) <= 0:
                self.kill()
                raise AssertionError(f"it did not end: {self.errors.read_text()[-2000:]}")
            self.forks.hear(left)
        return code

    def kill(self) -> None:
        """kill -9, for it and all of its session that has not left its group."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            while self.poll() is None:
                self.forks.hear(10)


@contextmanager
def forks(environment: Mapping[str, str], modules: Sequence[str], root: Path = ROOT) -> Iterator[Forks]:
    """A server that has imported these; `root` is first on its path."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-P", __file__, str(its.fileno()), str(root), *modules]
    server = subprocess.Popen(command, env=dict(environment), pass_fds=[its.fileno()])
    its.close()
    try:
        yield Forks(ours, environment)
    finally:
        ours.close()
        server.kill()
        server.wait()


def serve(fd: int, modules: Sequence[str]) -> dict[str, Any]:
    """Fork for every request until the other end closes. Returns in the children only, with the request."""
    for module in modules:
        importlib.import_module(module)
    channel = socket.socket(fileno=fd)
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    rest = b""
    while True:
        if woken in select.select([channel, woken], [], [])[0]:
            woken.recv(4096)
            for pid, code in ended():
                channel.sendall(json.dumps({"ended": pid, "code": code}).encode() + b"\n")
            continue
        said = channel.recv(1 << 16)
        if not said:
            os._exit(0)
        *lines, rest = (rest + said).split(b"\n")
        for line in lines:
            if not os.fork():
                os.setsid()
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                channel.sendall(json.dumps({"started": os.getpid()}).encode() + b"\n")
                for end in (channel, woken, wakes):
                    end.close()
                request: dict[str, Any] = json.loads(line)
                return request


def ended() -> Iterator[tuple[int, int]]:
    """Children that have ended, with their exit codes."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def become(request: Mapping[str, Any]) -> Callable[[], None]:
    """Make this process, just forked, the one that was asked for; returns what it is to run."""
    for stream, path in ((1, request["out"]), (2, request["errors"])):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    module, _, name = request["main"].partition(":")
    sys.argv = [module, *request["words"]]
    run: Callable[[], None] = getattr(importlib.import_module(module), name)
    return run


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    become(serve(int(sys.argv[1]), sys.argv[3:]))()
