"""One part in a process of its own, a JSON line for all that it yields: `python -m benchmarks.gpu.part NAME`."""

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType

from benchmarks.gpu.parts import PARTS, Size
from tasks.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[part.name for part in PARTS])
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    _own_tests()
    try:
        import torch

        size: Size = "toy" if options.toy or not torch.cuda.is_available() else "full"
        (part,) = (part for part in PARTS if part.name == options.name)
        for figures in part.load()(size):
            print(json.dumps({"part": part.name, "size": size, **figures}), flush=True)
    except (ModuleNotFoundError, UserError) as error:
        print(json.dumps({"part": options.name, "skipped": str(error)}), flush=True)


def _own_tests() -> None:
    """`tests` is this tree's, whatever a package on the machine calls so: detector and tracker take scenes from it."""
    tests = ModuleType("tests")
    tests.__path__ = [str(Path(__file__).parents[2] / "tests")]
    sys.modules["tests"] = tests


if __name__ == "__main__":
    main()
