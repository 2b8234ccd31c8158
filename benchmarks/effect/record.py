"""What has been measured: a line a seed and arm, in a small file that may outlive the folder of the runs."""

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.effect.report import MEASURES, Values

Numbers = dict[str, float]
"""By measure, of one run's last validation."""


@dataclass(frozen=True)
class Record:
    """SystemExit where the file's first line says that it was measured of something else."""

    path: Path
    of: Mapping[str, Any]
    """What all lines were measured of: data, steps, settings. The first line."""
    _one: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> dict[tuple[str, int], Numbers]:
        """By arm and seed."""
        if not self.path.exists():
            return {}
        try:
            of, *lines = map(json.loads, self.path.read_text().splitlines())
        except ValueError:
            raise SystemExit(f"{self.path} is no record, or was cut off: mend or remove its last line") from None
        for name, value in self.of.items():
            if of.get(name) != value:
                raise SystemExit(f"{self.path} was measured with {name} {of.get(name)}, not {value}: give another file")
        return {(line["arm"], line["seed"]): line["values"] for line in lines}

    def add(self, arm: str, seed: int, run: Path) -> None:
        """The last validation of a run folder."""
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        last = [line for line in lines if "val.diffusion" in line][-1]
        said = {"arm": arm, "seed": seed, "values": {name: last[key] for name, key in MEASURES.items()}}
        with self._one:
            with suppress(FileExistsError), self.path.open("x") as file:
                file.write(json.dumps(self.of) + "\n")
            with self.path.open("a") as file:
                file.write(json.dumps(said) + "\n")

    def values(self, arm: str, seeds: Sequence[int]) -> Values:
        """Of an arm, in the order of the seeds."""
        found = self.read()
        return {name: [found[arm, seed][name] for seed in seeds] for name in MEASURES}
