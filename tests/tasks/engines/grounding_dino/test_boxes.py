"""Scores per token to boxes per noun, on scores written by hand."""

import numpy as np
import pytest
import torch

from tasks.engines.grounding_dino.boxes import noun_scores, propose
from tasks.engines.grounding_dino.prompts import build_prompts
from tasks.errors import UserError

SIZE = (100, 200)  # height, width


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


class Case:
    """Queries with a box each and scores for tokens by their word; all other tokens score 0.01."""

    def __init__(self, tokenizer, nouns):
        (self.prompt,) = build_prompts(nouns, tokenizer, 256)
        self.tokens = tokenizer.convert_ids_to_tokens(list(self.prompt.ids))
        self.rows, self.boxes = [], []

    def query(self, box, **scores):
        self.rows.append([logit(scores.get(token.strip("#"), 0.01)) for token in self.tokens])
        self.boxes.append(box)
        return self

    def run(self, thresholds=(0.35, 0.25), nms_iou=0.8, limit=5):
        # Padding to a longer text, as the networks give it.
        logits = torch.full((1, len(self.rows), 256), float("-inf"))
        logits[0, :, : len(self.tokens)] = torch.tensor(self.rows)
        scores, weakest = noun_scores(logits, self.prompt.words)
        reading = (scores[0].numpy(), weakest[0].numpy(), np.asarray(self.boxes, np.float32))
        return propose(reading, 3, self.prompt, SIZE, thresholds, nms_iou, limit)


LEFT, RIGHT = (0.25, 0.5, 0.2, 0.4), (0.75, 0.5, 0.2, 0.4)


def brief(found):
    return [(p.noun, round(p.score, 3), round(p.box.x0), round(p.box.y0)) for p in found]


def test_a_box_is_centre_and_size_in_shares_and_goes_to_its_noun(tokenizer):
    found = Case(tokenizer, ["man", "cup"]).query(LEFT, cup=0.6).query(RIGHT, man=0.9).run()
    assert brief(found) == [("man", 0.9, 130, 30), ("cup", 0.6, 30, 30)]
    box = found[1].box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((30, 30, 70, 70), abs=1e-4)
    assert {p.frame for p in found} == {3}


def test_the_score_is_the_best_token_of_the_noun_and_must_exceed_the_box_threshold(tokenizer):
    case = Case(tokenizer, ["snowboard"]).query(LEFT, snow=0.3, board=0.4).query(RIGHT, snow=0.34, board=0.34)
    assert brief(case.run()) == [("snowboard", 0.4, 30, 30)]
    assert len(case.run(thresholds=(0.33, 0.25))) == 2


def test_every_word_must_exceed_the_text_threshold_but_not_every_piece_of_a_word(tokenizer):
    case = Case(tokenizer, ["polar bear", "snowboard"])
    case.query(LEFT, bear=0.9, polar=0.2).query(RIGHT, snow=0.9, board=0.1)
    assert brief(case.run()) == [("snowboard", 0.9, 130, 30)]
    assert ("polar bear", 0.9, 30, 30) in brief(case.run(thresholds=(0.35, 0.19)))


def test_a_box_belongs_to_its_best_noun_only_and_to_the_next_where_that_fails_a_word(tokenizer):
    case = Case(tokenizer, ["man", "person"]).query(LEFT, man=0.8, person=0.7)
    assert brief(case.run()) == [("man", 0.8, 30, 30)]
    case = Case(tokenizer, ["polar bear", "bear"]).query(LEFT, bear=0.9)
    assert brief(case.run()) == [("bear", 0.9, 30, 30)]


def test_words_that_two_nouns_share_do_not_mix_them(tokenizer):
    # By label strings "bear" is in "polar bear"; by tokens each has its own.
    case = Case(tokenizer, ["bear", "polar bear"])
    own = case.prompt.words
    assert own == (((1,),), ((3,), (4,)))
    case.query(LEFT, bear=0.5, polar=0.6)
    case.rows[0][1] = logit(0.1)  # only the second "bear" speaks
    assert brief(case.run()) == [("polar bear", 0.6, 30, 30)]


def test_nouns_that_read_alike_all_get_the_boxes(tokenizer):
    found = Case(tokenizer, ["Man", "man", "cup"]).query(LEFT, man=0.8).run()
    assert brief(found) == [("Man", 0.8, 30, 30), ("man", 0.8, 30, 30)]


def test_suppression_is_per_noun_and_the_limit_comes_after_it(tokenizer):
    case = Case(tokenizer, ["man", "cup"])
    near = (0.26, 0.5, 0.2, 0.4)  # overlaps LEFT by 0.905
    case.query(LEFT, man=0.8).query(near, man=0.9).query(RIGHT, man=0.5).query(LEFT, cup=0.7)
    assert brief(case.run()) == [("man", 0.9, 32, 30), ("man", 0.5, 130, 30), ("cup", 0.7, 30, 30)]
    assert brief(case.run(limit=1)) == [("man", 0.9, 32, 30), ("cup", 0.7, 30, 30)]
    assert len(case.run(nms_iou=0.95)) == len(case.run(nms_iou=1.0)) == 4


def test_boxes_are_clipped_and_slivers_dropped(tokenizer):
    case = Case(tokenizer, ["man"])
    case.query((0.0, 0.0, 0.4, 0.4), man=0.9)  # over the corner
    case.query((0.5, 0.5, 0.004, 0.5), man=0.8)  # 0.8 pixels wide
    case.query((1.2, 0.5, 0.3, 0.5), man=0.7)  # outside
    case.query((0.5, 0.5, 3.0, 3.0), man=0.6)  # larger than the frame
    boxes = [(p.box.x0, p.box.y0, p.box.x1, p.box.y1) for p in case.run()]
    assert boxes[0] == pytest.approx((0, 0, 40, 20), abs=1e-4)
    assert boxes[1] == (0, 0, 200, 100)
    assert len(boxes) == 2


def test_a_sliver_of_one_noun_leaves_no_trace(tokenizer):
    assert Case(tokenizer, ["man", "cup"]).query((0.5, 0.5, 0.001, 0.5), man=0.8, cup=0.7).run() == []


def test_ties_go_by_place_whatever_the_order_of_the_queries(tokenizer):
    places = [(0.2 + 0.2 * x, 0.3 + 0.3 * y, 0.1, 0.2) for y in range(2) for x in range(4)]
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(5):
        case = Case(tokenizer, ["man"])
        for k in rng.permutation(len(places)):
            case.query(places[k], man=0.5)
        found = case.run()
        assert brief(found) == sorted(brief(found), key=lambda b: (b[3], b[2]))
        seen.add(tuple(brief(found)))
    assert len(seen) == 1


@pytest.mark.parametrize("broken", ["scores", "boxes"])
def test_values_that_are_no_numbers_are_an_error_and_not_an_empty_frame(tokenizer, broken):
    case = Case(tokenizer, ["man"]).query(LEFT, man=0.9)
    if broken == "scores":
        case.rows[0][1] = float("nan")
    else:
        case.boxes[0] = (float("nan"), 0.5, 0.2, 0.4)
    with pytest.raises(UserError, match="fp32"):
        case.run()
