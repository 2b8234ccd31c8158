"""Shards to training batches: plan, checked entries, one geometry, batches."""

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
