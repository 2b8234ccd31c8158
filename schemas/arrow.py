"""Arrow form of the records: typed columns derived from the pydantic models, for any Parquet reader to query."""

import types
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from schemas.base import Record

R = TypeVar("R", bound=Record)

_PRIMITIVES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def _arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of an annotation, and whether it may be null."""
    origin, args = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _arrow_type(args[0])
    if origin in (Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"no Arrow form for {annotation}")
        return _arrow_type(inner[0])[0], True
    if origin is Literal:
        return _arrow_type(type(args[0]))
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        item, nullable = _arrow_type(args[0])
        return pa.list_(pa.field("item", item, nullable=nullable)), False
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return pa.struct(list(arrow_schema(annotation))), False
        if issubclass(annotation, Enum):
            return pa.string(), False
        if annotation in _PRIMITIVES:
            return _PRIMITIVES[annotation], False
    raise TypeError(f"no Arrow form for {annotation}")


@cache
def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """Arrow schema of a record class. Raises TypeError for a field type that has no lossless Arrow form."""
    fields = []
    for name, info in model.model_fields.items():
        kind, nullable = _arrow_type(info.annotation)
        fields.append(pa.field(name, kind, nullable=nullable))
    return pa.schema(fields)


def to_table(records: list[R], model: type[R]) -> pa.Table:
    """Records as a table with the model's schema, in the given order."""
    return pa.Table.from_pylist([r.model_dump(mode="json") for r in records], schema=arrow_schema(model))


def from_table(table: pa.Table, model: type[R]) -> list[R]:
    """The records back, validated. Inverse of `to_table`."""
    return [model.model_validate(row) for row in table.to_pylist()]
