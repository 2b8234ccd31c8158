"""MM-GroundingDINO, and so LLMDet: from GroundingDINO's own weights the same boxes, and the same tokens a noun."""

import numpy as np
import pytest
import torch

from tasks.engines.grounding_dino.engine import GroundingDino
from tasks.engines.grounding_dino.options import DinoOptions
from tasks.engines.grounding_dino.pixels import to_pixels
from tasks.engines.grounding_dino.prompts import build_prompts
from tasks.errors import UserError
from tests.tasks.engines import tiny_dino

NOUNS = ["ball", "polar bear", "man", "snowboard"]
WIDTH_ROOT = 16
"""By which MM-GroundingDINO divides its scores: the root of 256."""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The engine of GroundingDINO by transformers, and of MM-GroundingDINO with the same weights."""
    made = []
    for kind in ("transformers", "mm"):
        options = tiny_dino.save_tiny(tmp_path_factory.mktemp(kind), kind, 8)
        made.append(GroundingDino(DinoOptions(**options, box_threshold=0, text_threshold=0, nms_iou=1), None))
    return made


def frames(length: int = 2) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (length, 64, 96, 3), np.uint8)


def test_the_same_prompt_the_same_boxes_and_scores_a_sixteenth(both):
    prompts = [build_prompts(NOUNS, e._load().tokenizer, e._load().text_limit) for e in both]
    assert prompts[0] == prompts[1]
    pixels = to_pixels(frames(), 64, 128, torch.device("cpu"))
    (logits, boxes), (mm_logits, mm_boxes) = (e._load()(pixels, prompts[0][0]) for e in both)
    assert torch.allclose(boxes, mm_boxes, atol=1e-5)
    assert torch.equal(torch.isfinite(logits), torch.isfinite(mm_logits))
    there = torch.isfinite(logits)
    assert torch.allclose(logits[there], WIDTH_ROOT * mm_logits[there], rtol=1e-3, atol=1e-3)


def test_each_noun_gets_the_boxes_that_the_other_gives_it(both):
    own, mm = ([(p.frame, p.noun, p.box) for p in e.propose(frames(), NOUNS, 40)] for e in both)
    assert [row[:2] for row in own] == [row[:2] for row in mm] and len({row[1] for row in own}) > 1
    for (_, _, one), (_, _, other) in zip(own, mm, strict=True):
        assert np.allclose(list(one.model_dump().values()), list(other.model_dump().values()), atol=1e-2)


def test_what_is_on_record_tells_them_apart(both):
    assert both[0].identity != both[1].identity and both[0].resolved != both[1].resolved
    assert both[1].check().endswith("M parameters")


def test_another_kind_of_detector_is_told_before_its_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "omdet-turbo"}')
    with pytest.raises(UserError, match="not grounding-dino or mm-grounding-dino"):
        GroundingDino(DinoOptions(implementation="transformers", checkpoint=str(tmp_path)), None)
