"""A model that gives every triplet the same numbers is told, whatever became of its triplets."""

from typing import Any

import pytest

from schemas import Captioned, Row
from tasks.caption.remarks import remarks
from tasks.caption.stage import CaptionSettings, caption
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.lease import lease
from tests.tasks.caption.captioning import CAPTION, Scripted, good_answer, make_case


def rated(store: StageView[Captioned], numbers: list[tuple[int, int, float]], first: int = 1) -> None:
    """Puts clips of two triplets on record that a model rated with these numbers in turn, in a chunk of their own."""
    left = list(numbers)

    def answer(turn: str, document: dict[str, Any], _: int) -> dict[str, Any]:
        said = good_answer(turn, document)
        if turn == "score":
            contact, dynamism, confidence = left.pop(0)
            said |= {"Contact": contact, "Dynamism": dynamism, "confidence": confidence}
        return said

    cases = [make_case(n, CAPTION) for n in range(first, first + len(numbers) // 2)]
    put(store, list(caption(cases, Scripted(answer), None, CaptionSettings(concurrency=1))))


def put(store: StageView[Captioned], rows: list[Row[Captioned]]) -> None:
    with lease(store.work, store.place):
        store.append(rows, 2000)


@pytest.fixture
def store(tmp_path: Any) -> StageView[Captioned]:
    return StageView(Folder(str(tmp_path)), "caption/abc123", Captioned)


def test_ratings_without_variance_are_told(store: StageView[Captioned]) -> None:
    rated(store, [(4, 4, 1.0)] * 6)
    assert remarks(store) == []  # too few to say
    rated(store, [(4, 4, 1.0)] * 10, first=4)
    assert remarks(store) == ["all 16 ratings are contact 4, dynamism 4, confidence 1: this model does not rate"]
    rated(store, [(4, 4, 1.0), (4, 4, 0.9)], first=9)
    assert remarks(store) == ["all 18 ratings are contact 4, dynamism 4: this model does not rate"]


@pytest.mark.parametrize("other", [(5, 4, 1.0), (4, 3, 1.0), (1, 4, 1.0), (4, 1, 1.0)])
def test_one_that_differs_is_enough_also_among_the_dropped(
    other: tuple[int, int, float], store: StageView[Captioned]
) -> None:
    rated(store, [(4, 4, 1.0)] * 11 + [other])
    assert remarks(store) == []


def test_a_model_that_rejects_everything_is_told_too(store: StageView[Captioned]) -> None:
    rated(store, [(1, 1, 0.5)] * 10)
    assert store.accepted() == []
    assert remarks(store) == ["all 10 ratings are contact 1, dynamism 1, confidence 0.5: this model does not rate"]
    rated(store, [(1, 1, 0.5), (2, 1, 0.5)], first=6)
    assert remarks(store) == []


def test_nothing_on_record_is_no_remark(store: StageView[Captioned]) -> None:
    assert remarks(store) == []


def test_every_rating_of_thousands_of_clips_is_looked_at(store: StageView[Captioned]) -> None:
    rated(store, [(4, 4, 1.0)] * 2)
    (row,) = store.read(store.accepted())
    keys = [f"{n:016x}" for n in range(2, 2002)]
    put(store, [Row.model_validate(row).model_copy(update={"key": key}) for key in keys])
    assert "4,002 ratings" in remarks(store)[0]
