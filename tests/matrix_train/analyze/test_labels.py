"""Success and failure from a CSV."""

from pathlib import Path

import pytest

from matrix_train.analyze.labels import Labels, read_labels
from matrix_train.errors import UserError


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
