"""A child process for each part, cut at its share of the time: a crash or a hang in one takes nothing from the rest."""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

Figures = dict[str, Any]

PULSE = 0.2
"""Seconds between two looks at a child that is silent."""


class Child(NamedTuple):
    name: str
    share: float
    command: Sequence[str]


def run_children(
    children: Sequence[Child],
    seconds: float,
    tell: Callable[[Figures], None],
    logs: Path | None = None,
    least: float = 0,
) -> bool:
    """Tells every line of every child as it comes, and how each that did not end well ended. Whether all did.

    What one child leaves of its share, the later ones may use. What each says beside its lines is kept in `logs`.
    least: seconds that a child has, even if later ones then have none.
    """
    began = time.monotonic()
    well = True
    for place, child in enumerate(children):
        left = max(0.0, began + seconds - time.monotonic())
        allowed = min(left, max(least, left * child.share / sum(later.share for later in children[place:])))
        for figures in _lines(child, allowed, logs):
            well = well and not figures.keys() & {"cut", "failed"}
            tell({**figures, "at": round(time.monotonic() - began, 1)})
    return well


def _lines(child: Child, allowed: float, logs: Path | None) -> Iterator[Figures]:
    end = time.monotonic() + allowed
    with tempfile.TemporaryFile("w+", errors="replace") if logs is None else _log(logs, child.name) as said:
        process = subprocess.Popen(child.command, stdout=subprocess.PIPE, stderr=said, start_new_session=True)
        assert process.stdout is not None
        try:
            yield from _read(process, process.stdout, end)
            cut = process.poll() is None
        finally:
            # The whole group: a compiler's helpers too. What is left of it holds memory that the next part needs.
            _kill(process)
            process.stdout.close()
        if cut:
            yield {"part": child.name, "cut": f"after {allowed:.0f} s, its share of the time"}
        elif process.returncode:
            said.seek(0)
            last = [line for line in said.read().splitlines() if line.strip()][-1:]
            yield {"part": child.name, "failed": (last or ["no word"])[0][:300], "exit": process.returncode}


def _log(folder: Path, name: str) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{name}.txt").open("w+", errors="replace")


def _read(process: "subprocess.Popen[bytes]", stream: IO[bytes], end: float) -> Iterator[Figures]:
    """JSON lines until the child has ended or its time is up. Not until the pipe is closed: a helper may hold it."""
    held = b""
    with selectors.DefaultSelector() as ready:
        ready.register(stream, selectors.EVENT_READ)
        while time.monotonic() < end:
            ended = process.poll() is not None
            if ready.select(0 if ended else min(PULSE, max(0.0, end - time.monotonic()))):
                more = os.read(stream.fileno(), 2**16)
                if not more:
                    ready.unregister(stream)
                *whole, held = (held + more).split(b"\n")
                yield from (json.loads(line) for line in whole if line.startswith(b"{"))
            elif ended:
                return


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
