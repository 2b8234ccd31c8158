"""Stages declare themselves, and what is derived from that agrees with the docs."""

import re
from pathlib import Path

import pytest

from schemas import Reason
from tasks.spec import StageSpec
from tasks.stages import STAGES

ROOT = Path(__file__).parents[2]


def documented() -> set[tuple[str, str]]:
    """(code, stage) of every row of docs/reasons.md."""
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \| \S.* \| \S.* \|$", (ROOT / "docs/reasons.md").read_text(), re.M)
    assert len(rows) == len(set(rows)), "a reason is told twice for one stage"
    return set(rows)


def test_every_reason_code_is_told_once_for_every_stage_that_rejects_with_it():
    declared = {(str(reason), spec.name) for spec in STAGES for reason in spec.rejects}
    assert documented() == declared | {("poison", "any")}
    assert {code for code, _ in documented()} == set(Reason)


def test_every_reason_says_what_it_means():
    assert [m for spec in STAGES for m in spec.rejects.values() if not 10 < len(m) < 120 or m.endswith(".")] == []


def test_a_stage_is_a_folder_with_a_page_and_its_name():
    for spec in STAGES:
        assert (ROOT / "tasks" / spec.name / "stage.py").is_file()
        page = ROOT / "docs" / "stages" / f"{spec.name}.md"
        assert page.is_file() and spec.name in page.read_text().splitlines()[0]
    names = [spec.name for spec in STAGES]
    assert len(set(names)) == len(names)
    records = [spec.record for spec in STAGES if spec.record]
    assert len(set(records)) == len(records), "a record tells which stage it is of"


def test_a_stage_needs_only_what_comes_before_it():
    seen = set()
    for spec in STAGES:
        assert set(spec.needs) <= seen, spec.name
        seen.add(spec.record)


def test_a_stage_of_both_kinds_is_refused():
    with pytest.raises(ValueError, match="toy"):
        StageSpec(name="toy", batch=lambda work, keys: iter(()))
