"""Forked commands are commands as any other: their words, streams, environment, folder, exit code and session."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.forked import Forks, forks


def speak() -> None:
    import atexit

    atexit.register(print, "at exit")
    print(sys.argv[1:], os.environ["A"], os.environ.get("B"), Path.cwd().name, os.getsid(0) == os.getpid())
    print("told", file=sys.stderr)
    threading.Thread(target=lambda: (time.sleep(0.2), print("a thread is waited for"))).start()
    sys.exit(3)


def fail() -> None:
    raise RuntimeError("of the command")


def stay() -> None:
    if not os.fork():
        time.sleep(600)
    print("up", flush=True)
    time.sleep(600)


@pytest.fixture(scope="module")
def commands():
    environment = {"PATH": os.environ["PATH"], "A": "1"}
    with forks(environment, ["tests.test_forked"]) as found:
        yield found


def test_a_command_gets_what_it_was_given(commands: Forks, tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    for more, b in (({}, "None"), ({"B": "2"}, "2")):
        assert commands.start("tests.test_forked:speak", ["a b", 7], out, errors, cwd=tmp_path, **more).wait() == 3
        said = f"['a b', '7'] 1 {b} {tmp_path.name} True\na thread is waited for\nat exit\n"
        assert (out.read_text(), errors.read_text()) == (said, "told\n")
    assert commands.start("tests.test_forked:fail", [], out, errors).wait() == 1
    assert "RuntimeError: of the command" in errors.read_text() and "Traceback" in errors.read_text()


def test_several_at_once_are_killed_with_what_they_started(commands: Forks, tmp_path: Path) -> None:
    both = [commands.start("tests.test_forked:stay", [], tmp_path / name, tmp_path / name) for name in "ab"]
    while not all(process.out.read_text() for process in both):
        time.sleep(0.01)
    assert [process.poll() for process in both] == [None, None]
    first, second = both
    first.kill()
    assert (first.wait(), second.poll()) == (-signal.SIGKILL, None)
    os.kill(second.pid, signal.SIGTERM)
    assert second.wait() == -signal.SIGTERM
    os.killpg(second.pid, signal.SIGKILL)  # its child, which is left
    deadline = time.monotonic() + 20
    while _alive(first.pid) or _alive(second.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
