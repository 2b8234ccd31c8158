"""The agreement of the judge by tracks: with a tracker it is of what the tracker makes, not of true tracks."""

import numpy as np

from benchmarks.judge_agreement import UNTRACKED, Found, footage_of, put
from matrix_train.evaluate.checked import bias
from matrix_train.evaluate.protocol.scores import YES, Judged
from matrix_train.evaluate.seen.footage import Footage
from matrix_train.sample.trackers import Trackers
from schemas.rle import fill, run_lengths
from schemas.truth import VideoTruth
from tests.matrix_train.evaluate.made_up import BOX, FRAMES, HEIGHT, MAN, WIDTH, pushed
from tests.matrix_train.evaluate.on_disk import COLOURS


def filmed(truth: VideoTruth, still: bool = False) -> Footage:
    """The push as plain blocks, or its first frame over and over."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 120, np.uint8)
    frames += np.random.default_rng(0).integers(0, 6, frames.shape, dtype=np.uint8)
    for i in truth.instances:
        for frame, rle in enumerate(i.masks[:1] * FRAMES if still else i.masks):
            if rle is not None:
                frames[frame, fill(run_lengths(rle, HEIGHT, WIDTH), HEIGHT, WIDTH)] = COLOURS[i.id]
    return footage_of(truth, frames)


def noes(found: list[Found]) -> dict[str, list[int]]:
    """By plant, the questions to which the judge said no."""
    return {
        name: [a.question_id for a in said.answers[0] if a.answer != YES]
        for name, _, said in found
        if isinstance(said, Judged)
    }


def test_made_tracks_of_what_is_so_say_what_true_ones_do():
    truth = pushed()
    found = list(put(truth, filmed(truth), Trackers()))
    said = noes(found)
    assert (said["true"], said["exchanged"], said["still"]) == ([], [7, 8, 9, 10], [2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert {7, 8, 9} <= set(said["wrong_one"])  # painted in: the tracker has to follow it past the one who stands by
    known = bias.measure((right.answers, said.answers) for _, right, said in found if isinstance(said, Judged))
    assert known[8].true_asked and known[8].yes_to_false == 0


def test_a_tracker_is_shown_the_pictures_and_not_the_truth():
    """Pictures in which nothing moves, beside a truth in which it does: the judge must be wrong about what is so."""
    truth = pushed()
    found = list(put(truth, filmed(truth, still=True), Trackers()))
    assert {5, 6} <= set(noes(found)["true"])
    assert 5 not in noes(list(put(truth, filmed(truth, still=True))))["true"]


def test_who_is_not_in_the_first_frame_has_no_track():
    truth = pushed()
    man, box = truth.instances
    late = truth.model_copy(update={"instances": (man, box.model_copy(update={"masks": (None, *box.masks[1:])}))})
    said = {name: said for name, _, said in put(late, filmed(late), Trackers())}
    assert (man.id, box.id) == (MAN, BOX)
    assert said["true"] == said["exchanged"] == UNTRACKED
    assert UNTRACKED not in {said for _, _, said in put(late, filmed(late)) if isinstance(said, str)}
