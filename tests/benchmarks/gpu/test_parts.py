"""Every part of the GPU benchmark at toy size: the first minute on a real GPU is not for typing mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.bars import bars
from benchmarks.gpu.parts import PARTS, Figures

WANTED = {
    "machine": {"packages", "matrix_tflops", "copy_gb_per_s"},
    "parity": {"mode", "dq", "worst", "ok"},
    "kernels": {"attention", "seconds", "ran", "skipped"},
    "step": {"first_step", "seconds_on", "time_overhead", "mfu", "hfu"},
    "ladder": {"name", "seconds", "flops_per_step"},
    "compiled": {"name", "seconds", "first_seconds"},
    "vae": {"arm", "encode_seconds", "encode_first_seconds", "decode_seconds"},
    "maps": {"mode", "added"},
    "analyze": {"overhead", "seconds_plain", "tokens"},
    "trace": {"launches", "top"},
    "detector": {"ratio"},
    "tracker": {"seconds", "encoded"},
}


LONG = [pytest.mark.production, pytest.mark.long]
"""Of what compiles for real: most of it is g++."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks at every input's
@pytest.mark.parametrize("name", [pytest.param(p.name, marks=LONG if p.name == "compiled" else []) for p in PARTS])
def test_every_part_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    (part,) = (part for part in PARTS if part.name == name)
    lines = list(part.load()("toy"))
    assert WANTED[name] <= {key for line in json.loads(json.dumps(lines)) for key in line}
    if name == "parity":
        assert lines[-1]["worst"] < 0.01
    if name in ("ladder", "compiled"):
        assert [line["note"] for line in lines] == [""] * len(lines)


def test_the_command_runs_a_part_and_says_what_is_not_installed(tmp_path: Path) -> None:
    """sam2 cannot be imported here: the part that needs it says so, the other one runs."""
    (tmp_path / "sam2.py").write_text("raise ModuleNotFoundError(\"No module named 'sam2'\")\n")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--toy", "--only", "tracker", "machine"],
        env={"PYTHONPATH": f"{tmp_path}:.", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["part"] for line in lines] == ["machine", "machine", "tracker"]
    assert lines[-1]["skipped"] == "sam2: the package sam2 is not installed: install with the extra `models`"


def test_bars_are_held_against_what_was_measured_at_full_size() -> None:
    full = {"size": "full"}
    lines: list[Figures] = [
        {"part": "parity", **full, "worst": 0.03},
        {"part": "step", **full, "rounds": 1, "seconds_on": 9.0, "mfu": 0.1, "time_overhead": 0.5},
        {"part": "step", **full, "rounds": 2, "seconds_on": 3.0, "mfu": 0.45, "time_overhead": 0.01},
        {"part": "step", "cut": "after 80 s, its share of the time"},
        {"part": "vae", **full, "arm": "as trained", "encode_first_seconds": 0.1},
        {"part": "vae", **full, "arm": "kernels timed", "encode_first_seconds": 5.0},
    ]
    found = {line["bar"]: (line["found"], line["met"]) for line in bars(lines)}
    assert list(found.values()) == [(3.1, True), (0.45, True), (0.01, True), (0.03, False)]
    assert list(bars([{**line, "size": "toy"} for line in lines])) == []
