"""Judges of known honesty, from perfect to one that always says yes: the rates and corrected scores are theirs."""

import random

import pytest

from matrix_train.evaluate.bias import corrected, measure, plants, warnings
from matrix_train.evaluate.judge_truth import judge
from matrix_train.evaluate.scores import QUESTIONS, Answer, Judged
from tests.matrix_train.evaluate.made_up import FRAMES, instance, pushed


def said_by(known: Judged, false: float, true: float, dice: random.Random) -> Judged:
    """What a judge says that says yes to a share `false` of what is no and a share `true` of what is yes."""

    def say(answer: Answer) -> Answer:
        yes = dice.random() < (true if answer.answer == "yes" else false)
        return answer.model_copy(update={"answer": "yes" if yes else "no"})

    return Judged(tuple(tuple(say(a) for a in ten) for ten in known.answers), known.checks)


@pytest.fixture(scope="module")
def planted() -> list[Judged]:
    return [judge(plant.asked, plant.seen) for plant in plants(pushed())]


def test_plants_ask_all_but_q1_where_no_is_right(planted: list[Judged]):
    bias = measure((known.answers, known.answers) for known in planted)
    assert [q for q in QUESTIONS if not bias[q].false_asked] == [1]
    assert all(bias[q].true_asked for q in QUESTIONS)


def test_a_perfect_judge_is_warned_of_only_where_nothing_was_planted(planted: list[Judged]):
    bias = measure((known.answers, known.answers) for known in planted)
    assert warnings(bias) == ["Q1: never asked where no is right: its bias is not known"]
    assert corrected(planted[0], bias) == {"kisa": 1, "sgi": 1, "if_score": 1}


def test_one_that_always_says_yes_is_named_and_cannot_be_corrected(planted: list[Judged]):
    dice = random.Random(0)
    bias = measure((known.answers, said_by(known, 1, 1, dice).answers) for known in planted)
    assert "Q8: yes to 2 of 2 false questions (1.00)" in warnings(bias)
    assert len(warnings(bias)) == 11
    assert warnings(bias)[-1].startswith("no better than chance on Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10: ")
    assert corrected(planted[0], bias) is None


def test_a_biased_judge_is_corrected(planted: list[Judged]):
    """It says yes to .4 of what is no and .9 of what is yes; the truth is half good and half still videos."""
    dice = random.Random(1)
    many = planted * 1000
    bias = measure((known.answers, said_by(known, 0.4, 0.9, dice).answers) for known in many)
    assert bias[8].false_rate == pytest.approx(0.4, abs=0.05) and bias[8].true_rate == pytest.approx(0.9, abs=0.05)
    assert len(warnings(bias)) == 10
    videos = [planted[0], planted[2]] * 1000
    told = [said_by(known, 0.4, 0.9, dice) for known in videos]
    raw = sum(v.scores.sgi for v in told) / len(told)
    scores = [corrected(v, bias) for v in told]
    assert raw == pytest.approx(0.65, abs=0.03)  # ½·.9 + ½·.4
    assert sum(one["sgi"] for one in scores if one) / len(scores) == pytest.approx(0.5, abs=0.05)


def test_an_act_that_goes_on_in_frame_0_is_not_planted_as_a_still():
    (act,) = pushed().triplets
    held = pushed().model_copy(update={"triplets": (act.model_copy(update={"start_frame": 0}),)})
    assert [plant.still for plant in plants(held)] == [False, False]


def test_one_who_looks_like_the_agent_and_stands_by_is_asked_about():
    by = instance("id3", "man", [70] * FRAMES, 10, 30)
    crowd = pushed().model_copy(update={"instances": (*pushed().instances, by)})
    found = {plant.name: plant for plant in plants(crowd)}
    assert sorted(found) == ["another_subject", "exchanged", "still", "true"]
    plant = found["another_subject"]
    assert [a.question_id for a in judge(plant.asked, plant.seen).answers[0] if a.answer != "yes"] == [7, 8, 9]
    assert plant.asked.caption == "red man push red box"
