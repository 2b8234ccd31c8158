"""Which clips succeed and which fail: a CSV of people's verdicts, of an evaluation's scores, or of a review.

| column | is |
|---|---|
| `clip` | key of the clip |
| `label` | `success` or `failure`; of a review `accept` or `drop`; any other word is neither |
| `score` | instead: a number, the better the higher; above the median is success, below it failure |
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matrix_train.errors import UserError

SUCCESS, FAILURE = {"success", "accept"}, {"failure", "drop"}


@dataclass(frozen=True)
class Labels:
    success: tuple[str, ...]
    """Keys, sorted."""
    failure: tuple[str, ...]


def read_labels(file: Path) -> Labels:
    """UserError for a file that cannot be read, lacks a column, names a clip twice, or has no clip on a side."""
    try:
        # utf-8-sig: spreadsheets write a mark in front.
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"labels {file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    columns = set(rows[0]) if rows else set()
    if "clip" not in columns or not columns & {"label", "score"}:
        raise UserError(f"labels {file}: give columns clip and label (success, failure), or clip and score")
    found = {(row["clip"] or "").strip(): row for row in rows}
    if len(found) < len(rows):
        raise UserError(f"labels {file}: {len(rows) - len(found)} rows name a clip that has one already: give one each")
    if "label" in columns:
        words = {key: (row["label"] or "").strip().lower() for key, row in found.items()}
        good = {key for key, word in words.items() if word in SUCCESS}
        bad = {key for key, word in words.items() if word in FAILURE}
    else:
        scores = {key: _number(file, key, row["score"]) for key, row in found.items()}
        middle = median(scores.values())
        good = {key for key, score in scores.items() if score > middle}
        bad = {key for key, score in scores.items() if score < middle}
    if not good or not bad:
        raise UserError(f"labels {file}: {len(good)} clips succeed and {len(bad)} fail: both are needed")
    return Labels(tuple(sorted(good)), tuple(sorted(bad)))


def _number(file: Path, key: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if value != value:
        raise UserError(f"labels {file}: the score of {key} is {text!r}: give a number")
    return value
