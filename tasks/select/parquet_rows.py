"""Rows of Parquet: the columns that are asked for, whatever type their writer gave them."""

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.select.cells import Cells, Choose, fold

MEDIA_BYTES = 4096
"""A binary column whose cells are larger on average holds the videos themselves, and is not read."""


def parquet_rows(stream: IO[bytes], choose: Choose) -> Iterator[Cells]:
    """The rows, a few thousand at a time."""
    table = pq.ParquetFile(stream)
    schema = table.schema_arrow
    wanted = set(choose(schema.names))
    leaves = [leaf for leaf in _leaves(table) if leaf.split(".")[0] in wanted or leaf in wanted]
    number = 0
    for batch in table.iter_batches(batch_size=4096, columns=leaves):
        names = [fold(name) for name in batch.schema.names]
        for row in zip(*(_values(column) for column in batch.columns), strict=True):
            number += 1
            yield Cells(f"row {number}", dict(zip(names, row, strict=True)))


def _leaves(table: pq.ParquetFile) -> Iterator[str]:
    """Paths of the columns within columns, without those that hold media."""
    meta = table.metadata
    for i in range(meta.num_columns):
        column = meta.schema.column(i)
        size = sum(meta.row_group(g).column(i).total_uncompressed_size for g in range(meta.num_row_groups))
        binary = column.physical_type == "BYTE_ARRAY" and str(column.logical_type.type) == "NONE"
        if not binary or size <= MEDIA_BYTES * max(meta.num_rows, 1):
            yield column.path


def _values(column: pa.Array) -> list[Any]:
    """Plain Python values, with bytes that are no UTF-8 as lone surrogates: one such cell must not cost the file."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(_as_bytes(column.type)).to_pylist()
    return [_text(value) for value in values]


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _as_bytes(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _as_bytes(f.type)) for f in kind])
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.large_binary() if text else kind


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [_text(v) for v in value]
    if isinstance(value, dict):
        return {k: _text(v) for k, v in value.items()}
    return value
