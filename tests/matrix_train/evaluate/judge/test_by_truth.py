"""The judge that knows: true videos score 1, a planted fault lowers the score that is about it and no other."""

import pytest

from matrix_train.evaluate.checked.faults import FAULTS, NoRoom
from matrix_train.evaluate.judge.by_truth import judge, prompt_of
from matrix_train.evaluate.protocol.scores import Answer
from schemas.truth import VideoTruth
from tasks.world.film import render_scene
from tests.matrix_train.evaluate.made_up import BOX, FRAMES, MAN, block, instance, pushed

CLOSE = 0.05
"""The bar of the issue: what a fault is not about stays within this."""


@pytest.fixture(scope="module")
def kick() -> VideoTruth:
    """A rendered video: a kick among three instances, 66 frames of 640 × 480."""
    return render_scene(2)[1]


def no(answers: tuple[Answer, ...]) -> list[int]:
    return [a.question_id for a in answers if a.answer != "yes"]


def test_a_true_video_is_all_yes_and_says_where():
    judged = judge(pushed(), pushed())
    assert judged.scores.if_score == 1
    frames = {a.question_id: a.frame_index for a in judged.answers[0]}
    assert frames[1] == 0 and frames[3] in range(9, 12)  # the contact is at frame 10
    assert all(frame is not None for frame in frames.values())
    assert [c.frame_idx for c in judged.checks] == [5, 10, 15, 20, 25, 30]


def test_a_rendered_video_is_all_yes(kick: VideoTruth):
    assert judge(kick, kick).scores.if_score >= 0.95


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_lowers_its_own_score(name: str):
    lowers_its_own(name, pushed())


@pytest.mark.parametrize("name", ["swapped", "no_effect", "doubles"])
def test_so_it_does_in_a_rendered_video(name: str, kick: VideoTruth):
    lowers_its_own(name, kick)


def lowers_its_own(name: str, true: VideoTruth) -> None:
    before, after = judge(true, true).scores, judge(true, FAULTS[name].plant(true)).scores
    for score in ("kisa_raw", "sgi_raw", "spi"):
        fall = getattr(before, score) - getattr(after, score)
        if score in FAULTS[name].lowers:
            assert fall >= 3 * CLOSE, score
        else:
            assert abs(fall) <= CLOSE, score


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("swapped", [7, 8, 9, 10]),
        ("no_contact", [3, 4]),
        ("no_effect", [5, 6]),
        ("static", [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("wrong_one", [7, 8, 9]),
    ],
)
def test_it_says_no_to_what_is_wrong(name: str, wrong: list[int]):
    judged = judge(pushed(), FAULTS[name].plant(pushed()))
    assert no(judged.answers[0]) == wrong


def test_a_fault_that_cannot_be_is_not_planted():
    (act,) = pushed().triplets
    followed = pushed().model_copy(update={"triplets": (act.model_copy(update={"contact": 1, "dynamism": 3}),)})
    for name in ("no_contact", "no_effect"):
        with pytest.raises(NoRoom):
            FAULTS[name].plant(followed)


def test_the_act_of_another_verb_is_another_act():
    (act,) = pushed().triplets
    other = pushed().model_copy(update={"triplets": (act.model_copy(update={"verb": "hug"}),)})
    assert no(judge(pushed(), other).answers[0]) == list(range(2, 11))


def test_whoever_walks_out_of_the_picture_has_not_disappeared():
    places = [38] * 10 + [38 + 4 * k for k in range(FRAMES - 10)]
    assert block(places[-1], 12, 14) is None
    leaves = instance(BOX, "box", places, 12, 14)
    true = pushed().model_copy(update={"instances": (pushed().instances[0], leaves)})
    assert judge(true, true).scores.spi == 1
    gone = leaves.model_copy(update={"masks": leaves.masks[:12] + (None,) * (FRAMES - 12)})
    seen = true.model_copy(update={"instances": (true.instances[0], gone)})
    judged = judge(true, seen)
    assert [c.disappearance for c in judged.checks] == [False, False, True, True, True, True]
    assert judged.checks[-1].disappearance_reason == BOX


def test_strangers_count_from_when_they_spring_up_and_only_those_of_a_listed_class():
    there = instance("id3", "box", [70] * FRAMES, 12, 14)
    dog = instance("id4", "dog", [70] * FRAMES, 12, 14)
    late = (None,) * 12
    for more, emerged in (
        (there, 0),
        (there.model_copy(update={"masks": late + there.masks[12:]}), 4),
        (dog.model_copy(update={"masks": late + dog.masks[12:]}), 0),
        (instance("id3", "box", [-12 + 3 * max(0, f - 11) for f in range(FRAMES)], 12, 14), 0),  # walks in
    ):
        seen = pushed().model_copy(update={"instances": (*pushed().instances, more)})
        assert sum(c.emergence for c in judge(pushed(), seen).checks) == emerged


def test_the_prompt_of_a_truth_names_who_acts_and_no_bystander():
    dog = instance("id3", "dog", [70] * FRAMES, 12, 14)
    prompt = prompt_of(pushed().model_copy(update={"instances": (*pushed().instances, dog)}))
    assert [i.id for i in prompt.instances] == [MAN, BOX]
    assert prompt.interactions[0].text == "<id1> push <id2>"
