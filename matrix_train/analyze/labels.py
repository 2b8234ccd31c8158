"""Which clips succeed and which fail, from one of three files, told apart by their ending.

| file | success | failure |
|---|---|---|
| CSV with `clip` and `label` | `success`, `accept` | `failure`, `drop`; any other word is neither |
| CSV with `clip` and `score`; `scores.json` of `matrix_train evaluate` (its IF) | above the median | below it |
| `review.parquet` of a data set | every track accepted | the clip or a track of it dropped; a mended one is neither |

Of videos in `scores.json` the clip is the file's name without its ending, as `sample --dataset` names them. A row of a
review that was said of another track than the shard holds does not count.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from matrix_train.errors import UserError

SUCCESS, FAILURE = {"success", "accept"}, {"failure", "drop"}

SCORE = "if_score"
"""Of `scores.json`."""


@dataclass(frozen=True)
class Labels:
    success: tuple[str, ...]
    """Keys, sorted."""
    failure: tuple[str, ...]


def read_labels(file: Path) -> Labels:
    """UserError for a file that cannot be read or is none of these, names a clip twice, or has no clip on a side."""
    read = {".json": _evaluated, ".parquet": _reviewed}.get(file.suffix, _listed)
    try:
        words = read(file)
    except OSError as error:
        raise UserError(f"labels {file}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid):
        raise UserError(f"labels {file}: not a whole {file.suffix.lstrip('.') or 'CSV'} file") from None
    good = tuple(sorted(key for key, word in words.items() if word in SUCCESS))
    bad = tuple(sorted(key for key, word in words.items() if word in FAILURE))
    if not good or not bad:
        raise UserError(f"labels {file}: {len(good)} clips succeed and {len(bad)} fail: both are needed")
    return Labels(good, bad)


def _listed(file: Path) -> dict[str, str]:
    # utf-8-sig: spreadsheets write a mark in front.
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    columns = set(rows[0]) if rows else set()
    if "clip" not in columns or not columns & {"label", "score"}:
        raise UserError(f"labels {file}: give columns clip and label (success, failure), or clip and score")
    found = {(row["clip"] or "").strip(): row for row in rows}
    if len(found) < len(rows):
        raise UserError(f"labels {file}: {len(rows) - len(found)} rows name a clip that has one already: give one each")
    if "label" in columns:
        return {key: (row["label"] or "").strip().lower() for key, row in found.items()}
    return _halves({key: _number(file, key, row["score"]) for key, row in found.items()})


def _evaluated(file: Path) -> dict[str, str]:
    try:
        videos = json.loads(file.read_text(encoding="utf-8"))["by_video"]
        scores = {video: own[SCORE] for video, own in videos.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"labels {file}: give the scores.json that `matrix_train evaluate` wrote") from None
    clips = {PurePath(video).stem: _number(file, video, score) for video, score in scores.items()}
    if len(clips) < len(scores):
        raise UserError(f"labels {file}: two videos have the name of one clip: evaluate one folder of videos")
    return _halves(clips)


def _reviewed(file: Path) -> dict[str, str]:
    table = pq.read_table(file)
    if missing := {"key", "clip", "decision", "applies"} - set(table.column_names):
        raise UserError(f"labels {file}: lacks {', '.join(sorted(missing))}: give review.parquet of a data set")
    said: dict[str, set[str]] = {}
    for row in table.select(["key", "clip", "decision", "applies"]).to_pylist():
        if row["applies"]:
            said.setdefault(row["key"], set()).update({row["decision"], row["clip"]})
    return {
        key: "drop" if "drop" in words else "fix" if "fix" in words else "accept" for key, words in said.items()
    }  # fmt: skip


def _halves(scores: Mapping[str, float]) -> dict[str, str]:
    """A score on the median is neither."""
    middle = median(scores.values()) if scores else 0.0
    return {
        key: "success" if score > middle else "failure" if score < middle else "" for key, score in scores.items()
    }  # fmt: skip


def _number(file: Path, key: str, given: object) -> float:
    try:
        value = float(str(given))
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UserError(f"labels {file}: the score of {key} is {given!r}: give a number")
    return value
