"""Commands that run in processes of their own without paying for their imports each time.

A server process (multiprocessing's forkserver) has imported what the commands need, and forks for each of them. What
reads the environment while it is imported, as Prefect does, has read that of `preload`.
"""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest

CONTEXT = multiprocessing.get_context("forkserver")


def preload(modules: list[str], environment: Mapping[str, str]) -> None:
    """Start the server. Where this process has one already, commands import what it lacks."""
    CONTEXT.set_forkserver_preload(modules)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        ensure_running()


def run_forked(
    main: Callable[[], None], words: Sequence[str], out: Path, errors: Path, environment: Mapping[str, str]
) -> int:
    """Run `main` with these words behind the program's name; returns its exit code. Its two streams go to files."""
    process = CONTEXT.Process(target=_run, args=(main, words, str(out), str(errors), environment))
    process.start()
    try:
        process.join(280)
        assert process.exitcode is not None, f"{words} did not end: {errors.read_text()[-2000:]}"
        return process.exitcode
    finally:
        process.kill()


def _run(main: Callable[[], None], words: Sequence[str], out: str, errors: str, environment: dict[str, str]) -> None:
    for stream, path in ((1, out), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["matrix_data", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing ends without them
