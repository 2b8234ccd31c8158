"""Shards to training batches: plan, checked entries, one geometry, batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matrix_train.data.batch import Batch, Collate
    from matrix_train.data.config import DataConfig, Split
    from matrix_train.data.dataset import GaveUp, MatrixDataset, TrainSample
    from matrix_train.data.entry import BadEntry, BadReason
    from matrix_train.data.geometry import Geometry
    from matrix_train.data.index import read_index
    from matrix_train.data.loader import BatchStream, open_stream
    from matrix_train.data.plan import Plan, Ref

__all__ = [
    "BadEntry",
    "BadReason",
    "Batch",
    "BatchStream",
    "Collate",
    "DataConfig",
    "GaveUp",
    "Geometry",
    "MatrixDataset",
    "Plan",
    "Ref",
    "Split",
    "TrainSample",
    "open_stream",
    "read_index",
]


_HOME = {
    "Batch": "batch", "Collate": "batch", "DataConfig": "config", "Split": "config", "GaveUp": "dataset",
    "MatrixDataset": "dataset", "TrainSample": "dataset", "BadEntry": "entry", "BadReason": "entry",
    "Geometry": "geometry", "read_index": "index", "BatchStream": "loader", "open_stream": "loader", "Plan": "plan",
    "Ref": "plan",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imported when asked for: the model, its losses and the benchmarks need no video or table library."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
