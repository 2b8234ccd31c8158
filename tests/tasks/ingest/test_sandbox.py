import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tasks.errors import InfrastructureError
from tasks.ingest import sandbox
from tests.tasks.ingest import sandbox_jobs

LIMITS = sandbox.Limits(20, 1 << 30)


@pytest.fixture(autouse=True)
def _no_helpers_left():
    yield
    sandbox.close()


def test_answer_is_what_the_function_returns_and_each_call_is_a_new_process():
    assert sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", b"abc" * 500_000, LIMITS) == b"cba" * 500_000
    pids = {sandbox.run("tests.tasks.ingest.sandbox_jobs:whoami", b"", LIMITS) for _ in range(3)}
    assert len(pids) == 3 and str(os.getpid()).encode() not in pids


@pytest.mark.parametrize(
    ("job", "error", "limits"),
    [
        ("hang", sandbox.ChildTimeout, sandbox.Limits(0.5, 1 << 30)),
        ("spin", sandbox.ChildTimeout, sandbox.Limits(0.5, 1 << 30)),
        ("crash", sandbox.ChildCrash, LIMITS),
        ("greedy", sandbox.ChildMemory, LIMITS),
        ("wrong", sandbox.ChildFailed, LIMITS),
        ("leaves", sandbox.ChildFailed, LIMITS),
        ("killed", InfrastructureError, LIMITS),
    ],
)
def test_ends_of_a_child_are_told_apart_and_the_helper_goes_on(job, error, limits):
    with pytest.raises(error):
        sandbox.run(f"tests.tasks.ingest.sandbox_jobs:{job}", b"", limits)
    assert sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", b"ab", LIMITS) == b"ba"


def test_noise_on_the_standard_streams_does_not_reach_the_answer():
    assert sandbox.run("tests.tasks.ingest.sandbox_jobs:chatty", b"", LIMITS) == b"answer"


def test_threads_share_helpers_without_mixing_answers():
    answers: dict[int, bytes] = {}

    def work(i: int) -> None:
        for _ in range(5):
            answers[i] = sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", f"{i:06d}".encode(), LIMITS)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {i: f"{i:06d}".encode()[::-1] for i in range(4)}


def test_helper_killed_between_calls_is_replaced():
    sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", b"", LIMITS)
    (helper,) = sandbox._idle
    os.kill(helper.process.pid, signal.SIGKILL)
    helper.process.wait()
    assert sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", b"ab", LIMITS) == b"ba"


def test_child_does_not_outlive_a_killed_parent(tmp_path: Path):
    file = tmp_path / "pid"
    parent = sandbox_jobs.start_parent(str(file))
    child = None
    for _ in range(600):
        if file.exists() and file.read_text():
            child = int(file.read_text())
            break
        time.sleep(0.05)
    assert child is not None
    parent.kill()
    parent.wait()
    for _ in range(200):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # dead, and waiting for an init process to notice
            return
        time.sleep(0.05)
    pytest.fail("the child is still there")


def test_fork_of_the_parent_leaves_the_helpers_alone():
    sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", b"", LIMITS)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, str(len(sandbox._idle)).encode())
        os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"0"
    os.close(read)
    os.waitpid(pid, 0)
    assert sandbox.run("tests.tasks.ingest.sandbox_jobs:echo", b"ab", LIMITS) == b"ba"
