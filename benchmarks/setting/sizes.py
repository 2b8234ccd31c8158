"""A benchmark at several sizes, each in a process and a folder of its own: none pays for what another left."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def at_each_size(
    module: str, about: str, sizes: list[int], measure: Callable[[Path, int], dict[str, Any]]
) -> dict[int, dict[str, Any]]:
    """What `measure(folder, clips)` found at each size of `--clips`, by default `sizes`; told as soon as it is known.

    Run as a child it prints what it found, and ends.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--clips", type=int, nargs="+", default=sizes)
    parser.add_argument("--folder", type=Path, help="where the stores lie meanwhile")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(Path(given.child[0]), int(given.child[1]))))
        raise SystemExit
    found = {}
    for clips in given.clips:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            command = [sys.executable, "-m", module, "--child", folder, str(clips)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[clips] = json.loads(done.stdout.splitlines()[-1])
        print(f"{clips} clips: {json.dumps(found[clips])}", flush=True)
    return found
