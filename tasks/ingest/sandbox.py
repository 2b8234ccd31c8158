"""Run a function on hostile input in a child process with limits on time, processor time and memory.

A helper process (`serve`) imports the function's module once and then forks a fresh child for every call, so a call
costs milliseconds and whatever one input does to a decoder's memory dies with its child. The child gets bytes and
returns bytes: nothing it says is unpickled. Idle helpers are kept for the next call; all end with the parent.
"""

import atexit
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks.errors import InfrastructureError

GRACE_S = 60.0
"""How long the parent waits beyond a call's own limit before it gives the helper up: it covers the helper's start."""

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tasks.ingest.sandbox import serve; serve()"
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHASHSEED", "SYSTEMROOT")
_HEAD = struct.Struct("!cQ")
_PR_SET_PDEATHSIG = 1
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Limits:
    seconds: float
    """Of wall time, and of processor time."""
    memory_bytes: int
    """Of address space, beyond what an idle child has."""


class ChildTimeout(Exception):
    """The child ran out of wall or processor time and was ended."""


class ChildCrash(Exception):
    """The child died of a signal of its own making, such as SIGSEGV."""


class ChildMemory(Exception):
    """The child ran into its memory limit."""


class ChildFailed(Exception):
    """The function raised; the message holds the exception's type and text."""


def run(function: str, request: bytes, limits: Limits) -> bytes:
    """Call `module:name`, a function from bytes to bytes, in a child. Safe for threads.

    Raises ChildTimeout, ChildCrash, ChildMemory or ChildFailed for what the call did, InfrastructureError for what
    happened around it (the helper cannot start, somebody else killed the child).
    """
    helper = _take()
    try:
        kind, body = helper.call(function, request, limits)
    except BaseException:
        helper.end()
        raise
    with _lock:
        _idle.append(helper)
    if kind == b"k":
        return body
    text = body.decode("utf-8", "replace")
    if kind == b"t":
        raise ChildTimeout(text)
    if kind == b"s":
        if int(text) in _FROM_OUTSIDE:
            raise InfrastructureError(f"a decoder process was ended from outside by {signal.Signals(int(text)).name}")
        raise ChildCrash(signal.Signals(int(text)).name)
    if kind == b"m":
        raise ChildMemory(text)
    raise ChildFailed(text)


class _Helper:
    """The parent's end of a helper process."""

    def __init__(self) -> None:
        env = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith("LC_") or k == "LANG"}
        env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = json.dumps([p or os.getcwd() for p in sys.path])  # noqa: PTH109
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0
        )

    def call(self, function: str, request: bytes, limits: Limits) -> tuple[bytes, bytes]:
        head = json.dumps({"function": function, "seconds": limits.seconds, "memory": limits.memory_bytes}).encode()
        assert self.process.stdin and self.process.stdout
        deadline = time.monotonic() + limits.seconds + GRACE_S
        try:
            for part in (head, request):
                self.process.stdin.write(_HEAD.pack(b"r", len(part)) + part)
        except BrokenPipeError as error:
            raise self._lost() from error
        kind, size = _HEAD.unpack(self._read(_HEAD.size, deadline))
        return kind, self._read(size, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        assert self.process.stdout
        data = bytearray()
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        while len(data) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise InfrastructureError("a decoder helper does not answer")
            chunk = os.read(self.process.stdout.fileno(), min(size - len(data), 1 << 20))
            if not chunk:
                raise self._lost()
            data += chunk
        return bytes(data)

    def _lost(self) -> InfrastructureError:
        return InfrastructureError(f"a decoder helper ended unexpectedly (exit status {self.process.wait()})")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


_idle: list[_Helper] = []
_lock = threading.Lock()


def _take() -> _Helper:
    with _lock:
        while _idle:
            helper = _idle.pop()
            if helper.process.poll() is None:
                return helper
            helper.end()
    return _Helper()


@atexit.register
def close() -> None:
    """End all idle helpers."""
    with _lock:
        while _idle:
            _idle.pop().end()


def _forget() -> None:
    """In a forked copy of this process: leave the helpers to the original, and let go of their pipes."""
    for helper in _idle:
        helper.process.returncode = 0  # so that nobody waits for a process that is not ours
        for pipe in (helper.process.stdin, helper.process.stdout):
            if pipe:
                pipe.close()
    _idle.clear()


os.register_at_fork(after_in_child=_forget)


def serve() -> None:
    """The helper: reads calls from standard input, forks a child for each, answers on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends us by closing the pipe
    answers = os.dup(1)
    os.dup2(2, 1)
    while True:
        head, request = _read_part(), _read_part()
        call = json.loads(head)
        module, _, name = call["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        here, there = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(answers)
            os.close(here)
            _be_child(function, request, there, call["seconds"], call["memory"])
        os.close(there)
        kind, body = _watch(child, here, began + call["seconds"])
        os.close(here)
        _write_all(answers, _HEAD.pack(kind, len(body)) + body)


def _read_part() -> bytes:
    _, size = _HEAD.unpack(_read_exactly(_HEAD.size))
    return _read_exactly(size)


def _read_exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(0, min(size - len(data), 1 << 20))
        if not chunk:
            os._exit(0)
        data += chunk
    return bytes(data)


def _write_all(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _be_child(function: Callable[[bytes], bytes], request: bytes, out: int, seconds: float, memory: int) -> None:
    """Never returns."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # codecs talk on standard error; nobody shall read or write the helper's pipes
            os.dup2(null, standard)
        with open("/proc/self/statm") as sizes:  # noqa: PTH123
            used = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        processor = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (processor, processor + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        kind, body = b"k", function(request)
    except MemoryError as error:
        kind, body = b"m", str(error).encode()
    except BaseException as error:
        kind, body = b"e", f"{type(error).__name__}: {error}"[:4000].encode("utf-8", "backslashreplace")
    _write_all(out, kind + body)
    os._exit(0)


def _watch(child: int, pipe: int, deadline: float) -> tuple[bytes, bytes]:
    """The child's answer, or how it ended. Ends the child at the deadline, and both when the parent is gone."""
    data = bytearray()
    open_pipe, late = True, False
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    poll.register(pipe, select.POLLIN)
    while open_pipe and not late:
        for ready, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if ready == 0:
                os.kill(child, signal.SIGKILL)
                os._exit(0)
            chunk = os.read(pipe, 1 << 20)
            data += chunk
            open_pipe = bool(chunk)
        late = time.monotonic() >= deadline
    status = 0
    while not late:  # the pipe is closed, so the child is about to end
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.001)
        late = time.monotonic() >= deadline
    if late:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return b"t", b"wall time"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (b"t", b"processor time") if number == signal.SIGXCPU else (b"s", str(int(number)).encode())
    if os.WEXITSTATUS(status) or not data:
        return b"e", f"the child left without an answer (exit status {os.WEXITSTATUS(status)})".encode()
    return bytes(data[:1]), bytes(data[1:])
