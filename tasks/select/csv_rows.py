"""Rows of CSV and TSV text. A quote too many costs its own row, never those below it.

CSV is read strictly: inside of quotes a quote is doubled, and after them the cell ends. A row that breaks this is
refused by its line, and reading goes on at the next line. TSV has no quoting: a quote is a letter like any other.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO

from tasks.select.cells import Cells, Choose, fold

csv.field_size_limit(1 << 24)  # the module's own 128 KiB would end a whole file over one long caption

LONGEST = 200
"""Lines that one quoted cell may span. Beyond, its closing quote is missing."""

UNPAIRED = "its quotes do not pair up"

_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""What Excel reads, and writes, above the header."""


class _Lines:
    """The lines of a text, of which those that a damaged row took too many can be handed back."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        """Of the record under way."""
        self.number = 0
        """Of the last line taken."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST:
            raise csv.Error(f"a cell of {LONGEST} lines")
        line = self._back.popleft() if self._back else next(self._text)
        self.number += 1
        self.taken.append(line)
        return line

    def begin(self) -> None:
        self.taken = []

    def keep_first(self) -> None:
        """Hand back all lines of the record but its first."""
        self._back.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        del self.taken[1:]


def csv_rows(text: IO[str], choose: Choose, tabs: bool) -> Iterator[Cells]:
    """The rows below the header; `tabs` says that it is TSV. ValueError where there is no header."""
    lines = _Lines(text)
    delimiter, first = _header_line(lines, "\t" if tabs else None)
    quoting = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL

    def parse(source: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(source, delimiter=delimiter, quoting=quoting, skipinitialspace=True, strict=True)  # type: ignore[arg-type]

    header = next(parse(iter([first])))
    while len(header) > 1 and not header[-1].strip():
        header.pop()
    wanted = set(choose(header))
    columns = [(i, fold(name)) for i, name in enumerate(header) if name in wanted]
    for number, cells, problem in _records(lines, parse(lines), delimiter, len(header)):
        if problem is None and len(cells) != len(header):
            problem = f"the row has {len(cells)} cells under {len(header)} columns"
        if problem is not None:
            cells = _aligned(cells, len(header))
        values = {name: _as_written(cells[i]) if tabs else cells[i] for i, name in columns if i < len(cells)}
        yield Cells(f"line {number}", values, problem)


def _header_line(lines: _Lines, delimiter: str | None) -> tuple[str, str]:
    """The delimiter, and the line that holds the header: the first that is not blank."""
    for line in lines:
        lines.begin()
        told = _SEP_LINE.fullmatch(line)
        if told and delimiter is None:
            delimiter = told[1]
        elif line.strip("\ufeff \t\r\n"):
            if "\0" in line:
                raise ValueError("it is no text: give CSV, TSV, JSON, JSONL or Parquet")
            return delimiter or max(",;\t|", key=lambda d: (line.count(d), d == ",")), line.lstrip("\ufeff")
    raise ValueError("it is empty")


def _records(
    lines: _Lines, reader: Iterator[list[str]], delimiter: str, width: int
) -> Iterator[tuple[int, list[str], str | None]]:
    """First line, cells and problem of each row that is not blank."""
    while True:
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells, problem = [], f"{UNPAIRED}: {error}"
        else:
            while len(cells) > width and not cells[-1].strip():  # a delimiter at the end of the row
                cells.pop()
            swallowed = len(lines.taken) > 1 and _swallowed(lines.taken, cells, delimiter, width)
            problem = UNPAIRED if swallowed else ""
        if problem:
            lines.keep_first()
            cells = [cell.strip().strip('"') for cell in lines.taken[0].split(delimiter)]
        if any(cell.strip() for cell in cells):
            yield lines.number - len(lines.taken) + 1, cells, problem or None


def _swallowed(taken: Sequence[str], cells: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether a record over several lines is rather a quote too many, and the lines inside are rows of their own.

    They are where one of them, cut at every delimiter, has a cell in every column, and one of these looks like the
    record's own cell of that column, as `b.mp4` looks like `a.mp4`. On the first line what follows the long cell cannot
    be the record's, on the last line what comes before it.
    """
    if len(cells) != width:
        return True
    long = [i for i, cell in enumerate(cells) if "\n" in cell or "\r" in cell]
    for number, line in enumerate(taken):
        alone = line.split(delimiter)
        if len(alone) != width:
            continue
        start = long[-1] + 1 if number == 0 else 0
        stop = long[0] if number == len(taken) - 1 else width
        if any(_look(alone[i]) and _look(alone[i]) == _look(cells[i]) for i in range(start, stop) if i not in long):
            return True
    return False


def _look(cell: str) -> str:
    """The ending of a file name; of other text its shape, with one letter for each word and one digit a number."""
    cell = cell.strip().strip('"').lower()
    ending = re.search(r"\.[a-z][a-z0-9]{1,4}$", cell)
    return ending[0] if ending else re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", cell))


def _aligned(cells: list[str], width: int) -> list[str]:
    """A row with too many cells: what comes first counts from the left, what comes last from the right."""
    if len(cells) <= width:
        return cells
    return cells[: (width + 1) // 2] + cells[len(cells) - width // 2 :]


def _as_written(cell: str) -> str:
    """A TSV cell without the quotes of a writer that takes TSV for CSV with tabs; nobody else doubles every quote."""
    inside = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '""' in inside and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if quoted else cell
