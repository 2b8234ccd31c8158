"""How far the judge by tracks agrees with the truth, as `benchmarks/judge_agreement.py` last measured it.

agreement.json    tables by what the tracks came from: `TRUE`, or the identity of a track engine
"""

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from matrix_train.evaluate.judge.by_tracks import JUDGE
from matrix_train.evaluate.protocol.prompt import Prompt

TRUE = "true"
LOOKS = "vlm"
"""Stands where tracks would: of a model that looks, of which no table is shipped."""

TABLES = files("matrix_train.evaluate.judge") / "agreement.json"


def agreement(prompts: Iterable[Prompt], tracker: str, tables: Traversable = TABLES) -> dict[str, Any]:
    """By what the tracks of these prompts come from, the table with `lines` to print; lines alone where none was
    measured with such tracks and this version of the judge. Tracks that are given are held for true ones."""
    known: Mapping[str, Any] = json.loads(tables.read_text(encoding="utf-8"))
    kinds = {TRUE if prompt.tracks else tracker for prompt in prompts if prompt.tracks or prompt.idmap}
    return {kind: _told(kind, known.get(kind)) for kind in sorted(kinds, key=lambda kind: (kind != TRUE, kind))}


def _told(kind: str, table: Mapping[str, Any] | None) -> dict[str, Any]:
    by = "true tracks" if kind == TRUE else f"tracks made by {kind}"
    if table is None or table["judge"] != JUDGE:
        why = f" ({table['judge']} was, this is {JUDGE})" if table else ""
        lines = [
            f"this judge against the truth: not measured with {by}{why}, so how often it errs on them is not known: "
            "measure it by `python -m benchmarks.judge_agreement`"
        ]
        return {"lines": lines}
    lines = [f"this judge against the truth, on rendered videos with {by} ({table['date']}):"]
    for name, one in table["questions"].items():
        no, false = one["false_asked"] - one["yes_to_false"], one["false_asked"]
        lines.append(
            f"  {name:3} yes to {one['yes_to_true']} of {one['true_asked']} that are so, no to {no} of {false}"
        )
    for key, of in (("undecided", "undecided"), ("untracked", "without a track, as not in the first frame")):
        if told := [f"{one[key]} of {one['put']} {name}" for name, one in table["put"].items() if one[key]]:
            lines.append(f"  {of}, and not counted above: {', '.join(told)}")
    if kind == TRUE:
        lines.append("  errors of what made the tracks that were given come on top")
    return {**table, "lines": lines}
