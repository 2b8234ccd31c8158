"""See the package."""

import argparse
import json
import os
import sys
import tempfile
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from benchmarks.gpu.bars import bars
from benchmarks.gpu.children import Child, Figures, run_children
from benchmarks.gpu.parts import PARTS

LEAST = 30.0
"""Seconds of a part: where two minutes were shared by seven, importing alone took each of them 10 of its 11."""


def main() -> int:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Everything that wants a GPU.")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--toy", action="store_true", help="at toy size, as without CUDA")
    parser.add_argument(
        "--logs", type=Path, help="folder for what each part says beside its figures: tracebacks, warnings"
    )
    options = parser.parse_args()
    more = ["--toy"] if options.toy else []
    children = [
        Child(part.name, part.share, [sys.executable, "-m", "benchmarks.gpu.part", part.name, *more])
        for part in PARTS
        if part.name in options.only
    ]
    told: list[Figures] = []

    def tell(figures: Figures) -> None:
        told.append(figures)
        print(json.dumps(figures), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        _keep_bytecode(folder)
        well = run_children(children, 60 * options.minutes, tell, options.logs, LEAST)
    for figures in bars(told):
        print(json.dumps({"part": "bars", **figures}), flush=True)
    return 0 if well else 1


def _keep_bytecode(folder: str) -> None:
    """In this folder, where the installation may keep none: each part would compile all that it imports, 26 s of an
    H100's time."""
    torch = find_spec("torch")
    if torch and torch.origin and not Path(cache_from_source(torch.origin)).exists():
        os.environ |= {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}


if __name__ == "__main__":
    sys.exit(main())
