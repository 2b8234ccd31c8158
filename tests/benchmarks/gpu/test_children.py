"""Parts of the GPU benchmark in processes that crash, hang and leave helpers behind."""

import os
import sys
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu.children import Child, run_children


def child(name: str, code: str, share: float = 1.0) -> Child:
    return Child(name, share, [sys.executable, "-c", code])


def told_by(*children: Child, seconds: float = 60, least: float = 0) -> tuple[list[dict[str, Any]], bool]:
    told: list[dict[str, Any]] = []
    well = run_children(children, seconds, told.append, least=least)
    return [{name: value for name, value in line.items() if name != "at"} for line in told], well


def test_a_crash_takes_nothing_from_the_rest() -> None:
    told, well = told_by(
        child("raises", 'print(\'{"part": "raises", "x": 1}\', flush=True); raise ValueError("no such kernel")'),
        child("aborts", "import os; os.abort()"),
        child("runs", 'print("a library\'s greeting"); print(\'{"part": "runs"}\')'),
    )
    assert told == [
        {"part": "raises", "x": 1},
        {"part": "raises", "failed": "ValueError: no such kernel", "exit": 1},
        {"part": "aborts", "failed": "no word", "exit": -6},
        {"part": "runs"},
    ]
    assert not well


def test_a_part_that_hangs_is_cut_and_its_helpers_with_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys, time\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(helper.pid))\n"
        'print(\'{"part": "hangs", "first": true}\', flush=True)\n'
        "time.sleep(600)"
    )
    told, well = told_by(child("hangs", code), child("runs", 'print(\'{"part": "runs"}\')', 9), seconds=40)
    assert told == [
        {"part": "hangs", "first": True},
        {"part": "hangs", "cut": "after 4 s, its share of the time"},
        {"part": "runs"},
    ]
    assert not well
    helper = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(helper) or psutil.Process(helper).status() == psutil.STATUS_ZOMBIE


def test_a_part_has_its_least_even_if_later_ones_then_have_nothing() -> None:
    slow = 'import time; time.sleep(1); print(\'{"part": "slow"}\')'
    told, well = told_by(child("slow", slow), child("later", "import time; time.sleep(600)", 99), seconds=3, least=3)
    assert told[0] == {"part": "slow"}
    assert told[1]["part"] == "later"
    assert "cut" in told[1]
    assert not well


def test_a_helper_that_holds_the_pipe_holds_nobody_up(tmp_path: Path) -> None:
    """As a compiler's server does, in a session of its own."""
    code = (
        "import subprocess, sys\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        'print(\'{"part": "leaves", "pid": %d}\' % helper.pid)'
    )
    told, well = told_by(child("leaves", code))
    assert well
    os.kill(told[0]["pid"], 9)


def test_lines_come_as_they_are_told() -> None:
    code = 'import time\nfor n in range(2): print(\'{"part": "slow"}\', flush=True); time.sleep(1)'
    told: list[dict[str, Any]] = []
    run_children([child("slow", code)], 30, told.append)
    assert told[1]["at"] - told[0]["at"] > 0.5


def test_what_a_part_says_is_kept_where_asked(tmp_path: Path) -> None:
    code = "import sys; print('a warning', file=sys.stderr); raise ValueError('no such kernel')"
    told: list[dict[str, Any]] = []
    run_children([child("raises", code)], 30, told.append, tmp_path / "logs")
    said = (tmp_path / "logs" / "raises.txt").read_text()
    assert told[0]["failed"] == "ValueError: no such kernel"
    assert said.startswith("a warning\n") and "Traceback" in said
