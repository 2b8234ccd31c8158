"""Judges of known honesty, from perfect to one that always says yes: the rates and corrected scores are theirs."""

import random

import pytest

from matrix_train.evaluate.checked.bias import corrected, measure, measure_checks, painted_plants, plants, warnings
from matrix_train.evaluate.judge.by_truth import judge
from matrix_train.evaluate.protocol.scores import QUESTIONS, Answer, Judged
from schemas.truth import FrameRange
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
    assert warnings(bias, {}) == ["Q1: never asked where no is right: its bias is not known"]
    assert corrected(planted[0], bias) == {"kisa": 1, "sgi": 1, "if_score": 1}


def test_one_that_always_says_yes_is_named_and_cannot_be_corrected(planted: list[Judged]):
    dice = random.Random(0)
    bias = measure((known.answers, said_by(known, 1, 1, dice).answers) for known in planted)
    assert "Q8: yes to 2 of 2 false questions (1.00)" in warnings(bias, {})
    assert len(warnings(bias, {})) == 11
    assert warnings(bias, {})[-1].startswith("no better than chance on Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10: ")
    assert corrected(planted[0], bias) is None


def test_a_biased_judge_is_corrected(planted: list[Judged]):
    """It says yes to .4 of what is no and .9 of what is yes; the truth is half good and half still videos."""
    dice = random.Random(1)
    many = planted * 1000
    bias = measure((known.answers, said_by(known, 0.4, 0.9, dice).answers) for known in many)
    assert bias[8].false_rate == pytest.approx(0.4, abs=0.05) and bias[8].true_rate == pytest.approx(0.9, abs=0.05)
    assert len(warnings(bias, {})) == 10
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


def test_a_painted_fault_counts_where_it_turns_a_yes_into_a_no():
    found = {plant.name: plant for plant in painted_plants(pushed())}
    counted = {name: sorted(plant.counted) for name, plant in found.items() if not plant.checked}
    assert counted == {"no_contact": [3, 4], "no_effect": [5, 6], "wrong_one": [7, 8, 9]}
    bias = measure((plant.of(plant.known().answers),) * 2 for plant in found.values())
    assert [bias[q].false_asked for q in QUESTIONS] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    assert not any(known.true_asked for known in bias.values())
    checked = {name: plant.known().checks for name, plant in found.items() if plant.checked}
    assert {name: (checks[-1].emergence, checks[-1].disappearance) for name, checks in checked.items()} == {
        "vanishes": (False, True), "doubles": (True, False), "drifts": (True, True),
    }  # fmt: skip


def test_of_a_video_with_a_cut_nothing_is_painted():
    (act,) = pushed().triplets
    cut = act.model_copy(update={"repeats": (FrameRange(start=25, end=28),)})
    assert painted_plants(pushed().model_copy(update={"triplets": (cut,)})) == []


def test_one_that_sees_things_come_and_go_everywhere_is_warned_of():
    checks = [plant.known().checks for plant in (*plants(pushed())[:1], *painted_plants(pushed())) if plant.checked]
    perfect = measure_checks((known, known) for known in checks)
    assert (perfect["emergence"].false_asked, perfect["emergence"].true_asked) == (20, 4)
    bias = measure(())
    assert [line for line in warnings(bias, perfect) if not line.startswith("Q")] == []
    all_yes = [[c.model_copy(update={"emergence": True}) for c in known] for known in checks]
    assert [line for line in warnings(bias, measure_checks(zip(checks, all_yes, strict=True))) if line[0] == "e"] == [
        "emergence: yes to 20 of 20 false questions (1.00)", "emergence: no better than chance: SPI says nothing",
    ]  # fmt: skip
