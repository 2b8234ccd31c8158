"""Rows of JSONL and JSON: lists and objects of rows, and what `to_json` of pandas writes in each of its orients."""

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from tasks.errors import UserError
from tasks.select.cells import Cells, Choose, fold

HEADER_ROWS = 200
"""Objects of a JSONL file whose keys count as its header."""


class Doubled(dict[str, Any]):
    """An object in which a key stands twice; as a dict it has the last of each."""

    pairs: Sequence[tuple[str, Any]]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    doubled = Doubled(plain)
    doubled.pairs = pairs
    return doubled


def jsonl_rows(text: IO[str], choose: Choose) -> Iterator[Cells]:
    """One object a line. ValueError where none of the first lines is one."""
    lines = ((f"line {n}", _line(line)) for n, line in enumerate(text, 1) if line.strip("\ufeff \t\r\n"))
    first = list(itertools.islice(lines, HEADER_ROWS))
    yield from _rows(itertools.chain(first, lines), [value for _, value in first], choose)


def _line(line: str) -> Any:
    try:
        return json.loads(line.strip("\ufeff \t\r\n"), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None


def json_rows(text: IO[str], choose: Choose, stem: str) -> Iterator[Cells]:
    """The rows of one JSON value. ValueError where it is none that holds rows."""
    whole = text.read().lstrip("\ufeff")
    try:
        data = json.loads(whole, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from jsonl_rows(io.StringIO(whole, newline=""), choose)  # JSONL under the wrong name
        return
    del whole
    if isinstance(data, list):
        yield from _list(data, choose)
    elif isinstance(data, dict):
        yield from _by_key(data, choose, stem)
    else:
        raise ValueError(_EXPECTED)


_EXPECTED = "expected a list of objects, an object of captions by video, or a table of pandas"


def _list(data: list[Any], choose: Choose, header: Sequence[Any] | None = None) -> Iterator[Cells]:
    """A list of objects; or of lists, below a header that is given or is the first of them."""
    if not all(isinstance(row, list) for row in data) or not data:
        entries = ((f"entry {n}", row) for n, row in enumerate(data, 1))
        yield from _rows(entries, data, choose)
        return
    names = [str(name) for name in (data[0] if header is None else header)]
    wanted = choose(names)
    for number, row in enumerate(data, 1):
        if header is None and number == 1:
            continue
        short = None if len(row) == len(names) else f"the row has {len(row)} cells under {len(names)} columns"
        values = {fold(name): value for name, value in zip(names, row, strict=False) if name in wanted}
        yield Cells(f"entry {number}", values, short)


def _by_key(data: dict[str, Any], choose: Choose, stem: str) -> Iterator[Cells]:
    """An object: a table of pandas, of rows by video, of captions by video, or the facts of one video."""
    values = list(data.values())
    if data.keys() >= {"columns", "data"} and isinstance(data["columns"], list):  # orient="split"
        yield from _list(data["data"], choose, data["columns"])
    elif data.keys() == {"schema", "data"}:  # orient="table"
        yield from _list(data["data"], choose)
    elif values and all(isinstance(v, dict | list) for v in values) and _fits(choose, data):
        yield from _columns(data, choose)
    elif values and all(isinstance(v, dict) for v in values):
        entries = getattr(data, "pairs", data.items())
        yield from _rows(((f"entry {n}", row) for n, (_, row) in enumerate(entries, 1)), values, choose,
                         [key for key, _ in entries])  # fmt: skip
    elif any("caption" in key.casefold() for key in data):
        yield from _rows([("", data)], [data], choose, [stem])  # about the video of the same name
    elif values and all(isinstance(v, str) for v in values):
        choose(("video", "caption"))
        for number, (key, caption) in enumerate(getattr(data, "pairs", data.items()), 1):
            yield Cells(f"entry {number}", {"video": key, "caption": caption})
    else:
        raise ValueError(_EXPECTED)


def _fits(choose: Choose, header: Iterable[str]) -> bool:
    try:
        choose(tuple(header))
    except UserError:
        return False
    return True


def _columns(data: Mapping[str, Any], choose: Choose) -> Iterator[Cells]:
    """Columns by name, each a list, or an object by row number as pandas writes with orient="columns"."""
    if isinstance(data, Doubled):
        raise ValueError("a column stands there twice")
    wanted = choose(tuple(data))
    columns: dict[str, dict[Any, Any]] = {
        name: column if isinstance(column, dict) else dict(enumerate(column, 1))
        for name, column in data.items()
        if name in wanted
    }
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("its columns are of different lengths")
    for row in dict.fromkeys(key for column in columns.values() for key in column):
        yield Cells(f"row {row}", {fold(name): column.get(row) for name, column in columns.items()})


def _rows(
    entries: Iterable[tuple[str, Any]], sample: Iterable[Any], choose: Choose, keys: Sequence[str] | None = None
) -> Iterator[Cells]:
    """Objects, each with its place; `sample` are those whose names make the header, `keys` what they are called."""
    header = tuple(dict.fromkeys(name for row in sample if isinstance(row, dict) for name in row))
    if not header:
        raise ValueError("it holds no objects")
    choose(tuple(dict.fromkeys((*header, "video"))) if keys else header)
    for number, (place, row) in enumerate(entries):
        key = keys[number] if keys else None
        if not isinstance(row, dict):
            yield Cells(place, problem="not a JSON object", key=key)
        elif isinstance(row, Doubled):
            yield Cells(place, {fold(k): v for k, v in row.items()}, "a key stands there twice", key)
        else:
            yield Cells(place, {fold(k): v for k, v in row.items()}, None, key)
