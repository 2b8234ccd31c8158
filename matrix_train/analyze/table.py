"""`analysis.parquet`: a row a clip, block, step, role and kind; made clip by clip, so that a stopped one goes on.

A/clips/<clip>.parquet     whole or not there
A/analysis.parquet         all of them, a row group a clip, in the order of their keys
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matrix_train.analyze.ranking import VARIANTS
from matrix_train.analyze.reading import KINDS
from matrix_train.attention.maps import Direction
from matrix_train.files import whole

SCHEMA = pa.schema([
    ("clip", pa.string()),
    ("block", pa.int16()),
    ("step", pa.int16()),
    ("timestep", pa.float32()),
    ("interaction", pa.int16()),
    ("role", pa.string()),
    ("words", pa.string()),
    ("kind", pa.string()),
    ("aas", pa.float64()),
    ("mass", pa.float64()),
    ("mask_cells", pa.int32()),
    ("cells", pa.int32()),
])  # fmt: skip


@dataclass(frozen=True)
class ReadRole:
    """What a column of a reading's roles stands for."""

    interaction: int
    role: str
    words: str
    kinds: tuple[Direction, ...]
    """Those that it has: no v2t without tokens in the prompt, no v2v without cells in the first frame, neither without
    a mask."""
    mask_cells: int


def clip_table(
    clip: str, values: NDArray[np.floating], timesteps: NDArray[np.float32], roles: Sequence[ReadRole], cells: int
) -> pa.Table:
    """values: one prompt's [steps, blocks, kinds, R, values] of a `Reading`. cells: of the lattice of tokens."""
    step, block = (axis.ravel() for axis in np.indices(values.shape[:2]))
    count = len(step)
    parts = [SCHEMA.empty_table()]
    for r, role in enumerate(roles):
        for kind in role.kinds:
            own = values[:, :, KINDS.index(kind), r].reshape(count, -1).astype(np.float64)
            same = {
                "clip": clip, "interaction": role.interaction, "role": role.role, "words": role.words, "kind": kind,
                "mask_cells": role.mask_cells, "cells": cells,
            }  # fmt: skip
            columns = {name: pa.repeat(value, count) for name, value in same.items()} | {
                "block": block, "step": step, "timestep": timesteps[step], "aas": own[:, 0], "mass": own[:, 1],
            }  # fmt: skip
            parts.append(pa.table([pa.array(columns[name]).cast(SCHEMA.field(name).type) for name in SCHEMA.names],
                                  schema=SCHEMA))  # fmt: skip
    return pa.concat_tables(parts)


def write_table(table: pa.Table, path: Path) -> None:
    """The file appears whole or not at all."""
    with whole(path) as scratch:
        pq.write_table(table, scratch, compression="zstd")


def join(parts: Sequence[Path], path: Path) -> int:
    """All clips' tables in one file, one in memory at a time; how many rows."""
    rows = 0
    with whole(path) as scratch, pq.ParquetWriter(scratch, SCHEMA, compression="zstd") as writer:
        for part in parts:
            table = pq.read_table(part, schema=SCHEMA)
            writer.write_table(table)
            rows += table.num_rows
    return rows


@dataclass(frozen=True)
class Means:
    """Of one clip: AAS by variant, step and block, its mean over the roles of the variant; NaN without any."""

    aas: dict[str, NDArray[np.float64]]
    """By variant, [steps, blocks]."""
    attention: NDArray[np.float64]
    """A video cell's mean attention to the tokens of a role, over steps and roles, [blocks]."""


def means_of(table: pa.Table, steps: int, blocks: int) -> Means:
    found: dict[str, NDArray[np.float64]] = {}
    verb, kind = np.asarray(table["role"].to_pylist()) == "verb", np.asarray(table["kind"].to_pylist())
    place = table["step"].to_numpy().astype(np.int64) * blocks + table["block"].to_numpy()
    aas, spread = table["aas"].to_numpy(), table["mass"].to_numpy() / table["cells"].to_numpy()

    def mean(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        count = np.bincount(place[chosen], minlength=steps * blocks)
        total = np.bincount(place[chosen], values[chosen], minlength=steps * blocks)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(steps, blocks)

    for variant in VARIANTS:
        word, way = variant.split(".")
        found[variant] = mean(aas, (verb == (word == "verb")) & (kind == way))
    return Means(found, mean(spread, kind == "v2t").mean(axis=0))
