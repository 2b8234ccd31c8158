"""Success and failure from a CSV, from an evaluation's scores, and from a review."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from matrix_train.analyze.labels import Labels, read_labels
from matrix_train.errors import UserError
from schemas.arrow import to_table
from schemas.review import Label


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("clip,label\nb,success\na,success\nc,failure\n", Labels(("a", "b"), ("c",))),
        ("\ufefflabel,clip\nAccept,a\nDrop,b\nFix,c\n", Labels(("a",), ("b",))),
        ("clip,score\na,.9\nb,.5\nc,.1\nd,.2\ne,.5\n", Labels(("a",), ("c", "d"))),
    ],
)
def test_labels_scores_and_reviews(tmp_path: Path, text: str, want: Labels) -> None:
    (tmp_path / "l.csv").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "l.csv") == want


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip,verdict\na,success\n", "give columns clip and label"),
        ("", "give columns clip and label"),
        ("clip,label\na,success\na,failure\n", "1 rows name a clip that has one already"),
        ("clip,label\na,success\nb,maybe\n", "1 clips succeed and 0 fail: both are needed"),
        ("clip,score\na,1\nb,nan\n", "the score of b is 'nan': give a number"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_labels(tmp_path / "l.csv")
    with pytest.raises(UserError, match=r"nowhere\.csv: cannot be read: No such file"):
        read_labels(tmp_path / "nowhere.csv")


def test_scores_of_an_evaluation(tmp_path: Path) -> None:
    scores = {f"{name}.mp4": {"if_score": value, "kisa": 0.0} for name, value in (("a", 0.9), ("b", 0.5), ("c", -1.0))}
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"judge": "truth", "by_video": scores}))
    assert read_labels(file) == Labels(("a",), ("c",))
    for text in ("{", "[]", "{}", '{"by_video": {"a.mp4": {}}}', '{"by_video": 3}'):
        file.write_text(text)
        with pytest.raises(UserError, match=r"give the scores\.json that `matrix_train evaluate` wrote"):
            read_labels(file)
    file.write_text(json.dumps({"by_video": {"a.mp4": {"if_score": None}}}))
    with pytest.raises(UserError, match=r"the score of a\.mp4 is None: give a number"):
        read_labels(file)


def label(key: str, clip: str, decision: str, applies: bool = True) -> Label:
    given: dict[str, Any] = {"key": key * 16, "id": "id1", "clip": clip, "decision": decision, "applies": applies}
    return Label.model_validate({"reason": "", "by": "me", "at": 1.0, "height": 4, "width": 4, **given})


def test_a_review(tmp_path: Path) -> None:
    rows = [
        label("a", "keep", "accept"), label("a", "keep", "accept"), label("b", "drop", "accept"),
        label("c", "keep", "fix"), label("d", "keep", "drop"), label("e", "drop", "drop", applies=False),
    ]  # fmt: skip
    pq.write_table(to_table(rows, Label), tmp_path / "review.parquet")
    assert read_labels(tmp_path / "review.parquet") == Labels(("a" * 16,), ("b" * 16, "d" * 16))
    pq.write_table(to_table(rows, Label).drop_columns(["applies"]), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"lacks applies: give review\.parquet of a data set"):
        read_labels(tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not a whole parquet file"):
        read_labels(tmp_path / "cut.parquet")
