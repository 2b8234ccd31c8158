"""What the sandbox is tested with: functions that do what hostile input makes a decoder do."""

import os
import signal
import subprocess
import sys
import time


def echo(request: bytes) -> bytes:
    return request[::-1]


def whoami(_: bytes) -> bytes:
    return str(os.getpid()).encode()


def hang(_: bytes) -> bytes:
    time.sleep(600)
    return b""


def spin(_: bytes) -> bytes:
    while True:
        pass


def crash(_: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def killed(_: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def greedy(_: bytes) -> bytes:
    return bytes(1 << 33)


def wrong(_: bytes) -> bytes:
    raise KeyError("no such codec")


def chatty(_: bytes) -> bytes:
    print("noise" * 10_000)
    os.write(1, b"noise")
    os.write(2, b"noise")
    return b"answer"


def leaves(_: bytes) -> bytes:
    os._exit(3)


def hang_in_the_open(request: bytes) -> bytes:
    """Write this child's process id to a file, then hang."""
    with open(request.decode(), "w") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    time.sleep(600)
    return b""


def parent(file: str) -> None:
    """Run `hang_in_the_open` in a sandbox of this process; started as a process of its own by the test."""
    from tasks.ingest import sandbox

    sandbox.run("tests.tasks.ingest.sandbox_jobs:hang_in_the_open", file.encode(), sandbox.Limits(60, 1 << 30))


def start_parent(file: str) -> "subprocess.Popen[bytes]":
    jobs = "from tests.tasks.ingest import sandbox_jobs as jobs"
    code = f"import sys; sys.path[:] = {sys.path!r}; {jobs}; jobs.parent({file!r})"
    return subprocess.Popen([sys.executable, "-c", code])
