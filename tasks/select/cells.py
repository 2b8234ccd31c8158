"""One row of a caption table as its file gives it, and the question that a reader asks when it knows the header."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Choose = Callable[[Sequence[str]], Collection[str]]
"""Those of a header's names that are to be read. UserError where a column is missing or stands there twice."""


def fold(name: str) -> str:
    """A column's name without what writers do not agree on."""
    return name.strip().casefold()


@dataclass(frozen=True, slots=True)
class Cells:
    """One row: plain values by folded column name. `problem` where the row itself is damaged."""

    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    key: str | None = None
    """What the row is called from outside: its key in an object of rows, or the stem of a file about one video."""
