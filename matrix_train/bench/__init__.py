"""What alignment costs in time and memory, measured (`matrix_train bench`; `docs/training/bench.md`)."""

from matrix_train.bench.ladder import Rung, climb
from matrix_train.bench.run import BenchResult, bench, describe
from matrix_train.bench.workload import BenchOptions

__all__ = ["BenchOptions", "BenchResult", "Rung", "bench", "climb", "describe"]
