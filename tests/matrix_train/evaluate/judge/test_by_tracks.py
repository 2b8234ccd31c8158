"""The judge by tracks: who does it to whom is worked out from masks alone, held against what is known."""

from dataclasses import replace

import numpy as np
import pytest

from matrix_train.evaluate.checked.faults import FAULTS
from matrix_train.evaluate.judge.by_tracks import filmed, judge_tracks
from matrix_train.evaluate.judge.by_truth import prompt_of
from matrix_train.evaluate.judge.casting import Undecided, leads
from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.evaluate.seen.tracks import Filmed, Seen, Tracks
from matrix_train.sample.trackers import Trackers
from schemas.rle import fill, run_lengths
from schemas.truth import VideoTruth
from tests.matrix_train.evaluate.made_up import BOX, FRAMES, HEIGHT, MAN, WIDTH, instance, pushed


def seen(truth: VideoTruth, asked: Prompt) -> list[int]:
    """The questions answered no, from the masks of the truth and nothing else of it."""
    film = filmed(asked, {i.id: i.masks for i in truth.instances}, HEIGHT, WIDTH, truth.fps)
    judged = judge_tracks(asked, film)
    return [a.question_id for a in judged.answers[0] if a.answer != "yes"]


def test_a_push_is_seen_with_its_agent():
    assert seen(pushed(), prompt_of(pushed())) == []


def test_exchanged_roles_are_seen():
    (act,) = prompt_of(pushed()).interactions
    turned = act.model_copy(update={"subject": act.object, "object": act.subject})
    asked = prompt_of(pushed()).model_copy(update={"interactions": (turned,)})
    assert seen(pushed(), asked) == [7, 8, 9, 10]
    assert seen(FAULTS["swapped"].plant(pushed()), prompt_of(pushed())) == [7, 8, 9, 10]


@pytest.mark.parametrize(("fault", "score"), [("static", "sgi_raw"), ("vanishes", "spi"), ("no_effect", "kisa_raw")])
def test_a_fault_lowers_its_score(fault: str, score: str):
    asked, bad = prompt_of(pushed()), FAULTS[fault].plant(pushed())
    film = filmed(asked, {i.id: i.masks for i in bad.instances}, HEIGHT, WIDTH, bad.fps)
    assert getattr(judge_tracks(asked, film).scores, score) < 0.9


def test_without_ratings_or_tracks_there_is_no_score():
    asked = prompt_of(pushed())
    masks = {i.id: i.masks for i in pushed().instances}
    with pytest.raises(ValueError, match="no track of id2"):
        judge_tracks(asked, filmed(asked, {MAN: masks[MAN]}, HEIGHT, WIDTH, 10))
    (act,) = asked.interactions
    unrated = asked.model_copy(update={"interactions": (act.model_copy(update={"contact": None}),)})
    with pytest.raises(ValueError, match="no contact and dynamism"):
        judge_tracks(unrated, filmed(unrated, masks, HEIGHT, WIDTH, 10))


def test_tracks_are_made_from_the_masks_of_the_first_frame():
    """From pixels to scores: plain blocks, the embedded tracker."""
    truth, colours = pushed(), {MAN: (200, 40, 40), BOX: (40, 60, 200)}
    frames = np.full((truth.frames, HEIGHT, WIDTH, 3), 120, np.uint8)
    frames += np.random.default_rng(0).integers(0, 6, frames.shape, dtype=np.uint8)
    first = {}
    for i in truth.instances:
        masks = np.stack([fill(run_lengths(rle or "", HEIGHT, WIDTH), HEIGHT, WIDTH) for rle in i.masks])
        frames[masks] = colours[i.id]
        first[i.id] = masks[0]
    tracks = Trackers().tracked(frames, first)
    assert all(len(masks) == truth.frames for masks in tracks.values())
    asked = prompt_of(truth)
    assert judge_tracks(asked, filmed(asked, tracks, HEIGHT, WIDTH, truth.fps)).scores.sgi_raw == 1


def test_who_cannot_be_told_from_whom_is_no_yes():
    """Both stand still and touch from the first frame on: held, by either."""
    (act,) = prompt_of(pushed()).interactions
    held = act.model_copy(update={"contact": 5, "dynamism": 1})
    asked = prompt_of(pushed()).model_copy(update={"interactions": (held,)})
    masks = {i.id: (i.masks[12],) * FRAMES for i in pushed().instances}
    with pytest.raises(ValueError, match="undecided: tracks do not tell who of id1 and id2 acts"):
        judge_tracks(asked, filmed(asked, masks, HEIGHT, WIDTH, 10))


def test_another_who_looks_alike_is_seen_to_do_it():
    """The man who was asked for stands by the box, swaying, and touches it before the other comes."""
    bad = FAULTS["wrong_one"].plant(pushed())
    assert Tracks(bad).touching(MAN, BOX, range(FRAMES))[0] == 0
    judged = judge_tracks(prompt_of(pushed()), bad)
    assert [a.question_id for a in judged.answers[0] if a.answer != "yes"] == [7, 8, 9]


def test_two_who_do_it_alike_are_undecided():
    asked = prompt_of(pushed())
    masks = {i.id: i.masks for i in pushed().instances}
    film = filmed(asked, masks | {"id3": masks[MAN]}, HEIGHT, WIDTH, 10)
    twins = replace(film, instances=(*film.instances[:2], replace(film.instances[2], cls="man")))
    with pytest.raises(Undecided, match="id1 and id2 or id3 and id2 show what is asked for about alike"):
        judge_tracks(asked, twins)


def test_a_lead_below_its_margin_is_none():
    """They touch from the first frame on; one sets out this many frames before the other, at ten frames a second."""

    def side_by_side(earlier: int) -> Tracks:
        ways = [[8 + 3 * max(0, f - 5 + ahead) for f in range(20)] for ahead in (earlier, 0)]
        walkers = [instance(key, "man", [x + 10 * k for x in way], 10, 30)
                   for k, (key, way) in enumerate(zip((MAN, BOX), ways, strict=True))]  # fmt: skip
        return Tracks(Filmed(WIDTH, HEIGHT, 20, 10, tuple(Seen(i.id, i.cls, i.masks) for i in walkers)))

    with pytest.raises(Undecided):
        leads(side_by_side(2), MAN, BOX, 5, [0])
    assert leads(side_by_side(3), MAN, BOX, 5, [0]) and not leads(side_by_side(3), BOX, MAN, 5, [0])


def test_what_goes_from_one_to_the_other_tells_who_gives():
    """A ball rests at the giver, and reaches the taker by the end; neither of the two stirs."""
    ball = [18 + 3 * min(max(f - 5, 0), 12) for f in range(20)]
    them = (instance(MAN, "man", [8] * 20, 10, 30), instance(BOX, "man", [64] * 20, 10, 30),
            instance("id3", "ball", ball, 8, 8))  # fmt: skip
    tracks = Tracks(Filmed(WIDTH, HEIGHT, 20, 10, tuple(Seen(i.id, i.cls, i.masks) for i in them)))
    assert leads(tracks, MAN, BOX, 4, []) and not leads(tracks, BOX, MAN, 4, [])
