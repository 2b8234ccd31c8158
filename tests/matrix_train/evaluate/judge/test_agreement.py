"""The table of agreement is that of the tracks that were judged and of this judge, or it is said that there is none."""

import json
import re
from pathlib import Path

import pytest

from matrix_train.evaluate.judge.agreement import TABLES, TRUE, agreement
from matrix_train.evaluate.judge.by_tracks import JUDGE
from matrix_train.evaluate.judge.by_truth import prompt_of
from matrix_train.evaluate.profile import tracker_of
from tests.matrix_train.evaluate.made_up import pushed

GIVEN = prompt_of(pushed()).model_copy(update={"tracks": "t.tracks.json"})
MADE = prompt_of(pushed()).model_copy(update={"idmap": "t.png"})


def test_it_is_of_the_tracks_that_are_judged():
    own = tracker_of(None)
    both = agreement([MADE, GIVEN], own)
    assert list(both) == [TRUE, own]
    assert list(agreement([MADE], own)) == [own] and list(agreement([GIVEN], own)) == [TRUE]
    for kind, by in ((TRUE, "true tracks"), (own, own)):
        assert by in both[kind]["lines"][0] and len(both[kind]["lines"]) > 10
        assert both[kind]["questions"]["Q8"]["false_asked"] > 0
    assert both[TRUE]["questions"] != both[own]["questions"]


def test_what_is_shipped_is_of_this_judge():
    assert {table["judge"] for table in json.loads(TABLES.read_text(encoding="utf-8")).values()} == {JUDGE}


@pytest.mark.parametrize(
    ("prompt", "tracker", "told"),
    [
        (MADE, "sam2/none", "not measured with tracks made by sam2/none, so"),
        (MADE, "old/1", rf"not measured with tracks made by old/1 \(tracks 0 was, this is {JUDGE}\)"),
        (GIVEN, "old/1", r"not measured with true tracks \(tracks 0 was"),
    ],
)
def test_none_of_another_tracker_or_judge_stands_in_for_it(tmp_path: Path, prompt, tracker: str, told: str):
    table = {**json.loads(TABLES.read_text(encoding="utf-8"))[TRUE], "judge": "tracks 0"}
    (tmp_path / "a.json").write_text(json.dumps({TRUE: table, "old/1": table}))
    ((kind, found),) = agreement([prompt], tracker, tmp_path / "a.json").items()
    assert kind == (TRUE if prompt.tracks else tracker) and list(found) == ["lines"]
    (line,) = found["lines"]
    assert re.search(told, line)
