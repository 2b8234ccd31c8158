"""The scores held against cases worked out by hand."""

from collections.abc import Iterable

import pytest

from matrix_train.evaluate.protocol.scores import (
    Answer,
    FrameCheck,
    NotTen,
    Said,
    raw_scores,
    spi,
    ten_of,
    video_scores,
)


def answers(yes: Iterable[int], otherwise: Said = "no") -> list[Answer]:
    chosen = set(yes)
    return [Answer(question_id=q, answer="yes" if q in chosen else otherwise, frame_index=0) for q in range(1, 11)]


def frames(count: int, emerge: int = 0, disappear: int = 0) -> list[FrameCheck]:
    return [FrameCheck(frame_idx=5 * k + 5, emergence=k < emerge, disappearance=k < disappear) for k in range(count)]


def test_an_interaction_counts_six_and_four():
    assert raw_scores(answers(range(1, 11))) == (1, 1)
    assert raw_scores(answers([])) == (0, 0)
    kisa, sgi = raw_scores(answers([1, 2, 6, 7, 10]))
    assert kisa == pytest.approx(3 / 6) and sgi == pytest.approx(2 / 4)


def test_a_visually_implausible_yes_is_a_no():
    assert raw_scores(answers([1], otherwise="no (visually implausible)")) == (pytest.approx(1 / 6), 0)


def test_missing_and_double_answers_are_no_score():
    whole = answers(range(1, 11))
    with pytest.raises(NotTen, match=r"^no answer to Q4, Q9$"):
        raw_scores([a for a in whole if a.question_id not in (4, 9)])
    with pytest.raises(NotTen, match=r"^several to Q2$"):
        raw_scores([*whole, whole[1]])
    with pytest.raises(NotTen, match=r"^no answer to Q10; several to Q1$"):
        raw_scores([*whole[:9], whole[0]])
    assert [a.question_id for a in ten_of(whole[::-1])] == list(range(1, 11))


@pytest.mark.parametrize(
    ("count", "emerge", "disappear", "expected"),
    [
        (10, 0, 0, 1.0),
        (10, 2, 0, 0.5),  # ½[(1 − 5·.2) + 1]
        (10, 1, 1, 0.5),  # ½[(1 − 5·.1) + (1 − 5·.1)]
        (4, 4, 1, -2.125),  # ½[(1 − 5) + (1 − 5·.25)]
        (3, 3, 3, -4.0),  # the least there is
    ],
)
def test_spi_by_hand(count: int, emerge: int, disappear: int, expected: float):
    assert spi(frames(count, emerge, disappear)) == pytest.approx(expected)


def test_no_frame_compared_is_no_spi():
    with pytest.raises(ValueError, match="no frame"):
        spi([])


def test_interactions_are_averaged_before_videos():
    """One video of two interactions, KISA_raw 1 and ½, SPI ½; one of one interaction, all yes, SPI 1."""
    one = video_scores([answers(range(1, 11)), answers([1, 2, 3, 7, 8, 9, 10])], frames(10, 1, 1))
    assert (one.kisa_raw, one.sgi_raw, one.spi) == (pytest.approx(0.75), 1, pytest.approx(0.5))
    assert (one.kisa, one.sgi, one.if_score) == (pytest.approx(0.375), pytest.approx(0.5), pytest.approx(0.4375))


def test_a_negative_spi_makes_negative_scores():
    video = video_scores([answers(range(1, 11))], frames(4, 4, 1))
    assert video.if_score == pytest.approx(-2.125)


def test_a_video_without_an_interaction_has_no_score():
    with pytest.raises(ValueError, match="without an interaction"):
        video_scores([], frames(2))
