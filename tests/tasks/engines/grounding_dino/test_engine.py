"""The detector as stage propose uses it: two implementations, one answer, however the frames are batched."""

import logging
import threading
import warnings

import numpy as np
import pytest
import torch

from tasks.engines.base import Proposal
from tasks.engines.registry import EngineSpec, load_engine
from tasks.errors import InfrastructureError, UserError
from tasks.store.folder import Folder
from tests.tasks.engines.grounding_dino.conftest import make

NOUNS = ["man", "polar bear", "cup", "snowboard"]
BOTH = pytest.mark.parametrize("implementation", ["groundingdino", "transformers"])


def same(left: list[Proposal], right: list[Proposal], relative: float) -> None:
    """The same boxes in the same order, numbers within `relative` of the value or of the frame's side."""
    assert [(p.frame, p.noun) for p in left] == [(p.frame, p.noun) for p in right]
    for a, b in zip(left, right, strict=True):
        assert a.score == pytest.approx(b.score, rel=relative)
        assert [a.box.x0, a.box.x1] == pytest.approx([b.box.x0, b.box.x1], abs=relative * 72, rel=relative)
        assert [a.box.y0, a.box.y1] == pytest.approx([b.box.y0, b.box.y1], abs=relative * 48, rel=relative)


class Wrapped:
    """A real network that tells how many frames came at once, and whose memory holds `room` of them."""

    def __init__(self, network, room=1000):
        self.network, self.room, self.calls, self.inside = network, room, [], 0
        self.tokenizer, self.text_limit, self.parameters = network.tokenizer, network.text_limit, network.parameters

    def __call__(self, pixels, prompt):
        self.inside += 1
        assert self.inside == 1, "two forwards at once"
        try:
            self.calls.append((len(pixels), prompt.text))
            if len(pixels) > self.room:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return self.network(pixels, prompt)
        finally:
            self.inside -= 1


def wrap(engine, room=1000):
    engine._network = Wrapped(engine._load(), room)
    return engine._network


@pytest.fixture(scope="module")
def expected(saved, networks, frames):
    loaded = make(saved["groundingdino"])
    loaded._network = networks["groundingdino"]
    found = loaded.propose(frames, NOUNS, 5)
    # The fixture must exercise what the tests below claim: each noun found, not everywhere, scores apart.
    per_noun = [sum(p.noun == noun for p in found) for noun in NOUNS]
    assert min(per_noun) >= 5
    assert min(per_noun) < 25
    assert np.ptp([p.score for p in found]) > 0.1
    return found


def test_both_implementations_give_the_same_boxes_and_scores(ready, frames, expected):
    same(ready("transformers").propose(frames, NOUNS, 5), expected, 1e-4)


def test_their_raw_outputs_are_the_same_too(ready, frames):
    from tasks.engines.grounding_dino.pixels import to_pixels
    from tasks.engines.grounding_dino.prompts import build_prompts

    pixels = to_pixels(frames, 64, 128, torch.device("cpu"))
    outputs = []
    for implementation in ("groundingdino", "transformers"):
        network = ready(implementation)._load()
        (prompt,) = build_prompts(NOUNS, network.tokenizer, 256)
        with torch.inference_mode():
            logits, boxes = network(pixels, prompt)
        outputs.append((logits[..., : len(prompt.ids)], boxes))
    (logits, boxes), (other_logits, other_boxes) = outputs
    torch.testing.assert_close(logits, other_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(boxes, other_boxes, rtol=1e-4, atol=1e-5)
    assert boxes.std(1).min() > 0.02  # and they are not all one box


@BOTH
def test_batching_changes_nothing(ready, frames, implementation):
    whole = ready(implementation, batch=5)
    calls = wrap(whole).calls
    expected = whole.propose(frames, NOUNS, 5)
    assert calls == [(5, "man . polar bear . cup . snowboard .")]
    for batch, counts in ((1, [1] * 5), (2, [2, 2, 1])):
        parts = ready(implementation, batch=batch)
        calls = wrap(parts).calls
        same(parts.propose(frames, NOUNS, 5), expected, 1e-4)
        assert [n for n, _ in calls] == counts
    alone = [p for t in range(5) for p in moved(whole.propose(frames[t : t + 1], NOUNS, 5), t)]
    same(sorted(alone, key=lambda p: -p.score), expected, 1e-4)


def moved(found, frame):
    return [Proposal(frame, p.noun, p.box, p.score) for p in found]


@BOTH
def test_frames_keep_their_boxes_when_their_order_changes(ready, frames, implementation):
    loaded = ready(implementation)
    there = loaded.propose(frames, NOUNS, 5)
    order = [3, 0, 4, 1, 2]
    back = [Proposal(order[p.frame], p.noun, p.box, p.score) for p in loaded.propose(frames[order], NOUNS, 5)]
    same(back, there, 1e-4)


@BOTH
def test_boxes_go_with_their_noun_to_any_place_in_the_prompt(ready, frames, implementation, expected):
    turned = ready(implementation).propose(frames, ["snowboard", "cup", "man", "polar bear"], 5)
    same(turned, expected, 1e-4)


def test_other_nouns_other_boxes(ready, frames, expected):
    other = ready().propose(frames, ["dog", "polar bear", "cup", "snowboard"], 5)
    assert {p.noun for p in other} <= {"dog", "polar bear", "cup", "snowboard"}
    assert [p.score for p in other] != [p.score for p in expected]


def test_thresholds_and_suppression_take_boxes_away(ready, frames):
    def ask(**options):
        return {(p.frame, p.noun, p.box.x0, p.box.y0) for p in ready(**options).propose(frames, NOUNS, 100)}

    base = ask(box_threshold=0.35, nms_iou=1.0)
    assert ask(box_threshold=0.6, nms_iou=1.0) < base
    assert ask(box_threshold=0.35, nms_iou=0.5) < base
    # A word that is never sure: no "polar bear", whose boxes go to other nouns or to nobody.
    assert not any(noun == "polar bear" for _, noun, *_ in ask(text_threshold=0.999))


def test_nothing_asked_nothing_loaded(engine, frames):
    fresh = engine()
    assert fresh.propose(frames, [], 5) == fresh.propose(frames[:0], NOUNS, 5) == fresh.propose(frames, NOUNS, 0) == []
    assert fresh._network is None
    with pytest.raises(ValueError, match="uint8"):
        fresh.propose(frames.astype(np.float32), NOUNS, 5)


def test_a_noun_that_cannot_be_asked_has_no_box_and_takes_none(ready, frames):
    loaded = ready()
    odd = loaded.propose(frames, ["🍎", "man", "[SEP]", "cup"], 5)
    assert {p.noun for p in odd} <= {"man", "[SEP]", "cup"}
    assert loaded.propose(frames, ["🍎"], 5) == []
    # "[SEP]" is asked as the word it is, and ends no sentence.
    same(
        [p for p in odd if p.noun != "[SEP]"],
        [p for p in loaded.propose(frames, ["man", "sep", "cup"], 5) if p.noun != "sep"],
        1e-6,
    )


def test_nouns_said_twice_are_asked_once(ready, frames):
    loaded = ready()
    calls = wrap(loaded).calls
    same(loaded.propose(frames, ["man", "cup", "man"], 5), loaded.propose(frames, ["man", "cup"], 5), 1e-6)
    assert {text for _, text in calls} == {"man . cup ."}


def test_more_nouns_than_a_text_holds_go_in_several_prompts(ready, frames):
    loaded = ready()
    network = wrap(loaded)
    network.text_limit = 7  # "man . polar bear ." and no more
    found = loaded.propose(frames, NOUNS, 5)
    assert [text for _, text in network.calls] == (
        ["man . polar bear ."] * 2 + ["cup . snowboard ."] * 2  # five frames, four at once
    )
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    network.text_limit = 256
    apart = loaded.propose(frames, NOUNS[:2], 5) + loaded.propose(frames, NOUNS[2:], 5)
    same(found, sorted(apart, key=lambda p: -p.score), 1e-6)


def test_out_of_memory_halves_the_batch_says_so_and_changes_nothing(ready, frames, expected, caplog):
    tight = ready(batch=5)
    network = wrap(tight, room=2)
    with caplog.at_level(logging.WARNING):
        same(tight.propose(frames, NOUNS, 5), expected, 1e-4)
    assert [n for n, _ in network.calls] == [5, 2, 2, 1]
    assert "out of memory with 5 at once, going on with 2" in caplog.text
    network.calls.clear()
    tight.propose(frames, NOUNS, 5)
    assert [n for n, _ in network.calls] == [2, 2, 1]  # the next clip does not try in vain


def test_no_memory_for_one_frame_leaves_the_clip_pending(ready, frames):
    tight = ready(batch=5)
    wrap(tight, room=0)
    with pytest.raises(InfrastructureError, match="single"):
        tight.propose(frames, NOUNS, 5)


def test_threads_share_one_network_one_forward_at_a_time(ready, frames, expected):
    shared = ready()
    wrap(shared)
    results: list[list[Proposal]] = []
    threads = [threading.Thread(target=lambda: results.append(shared.propose(frames, NOUNS, 5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for found in results:
        same(found, expected, 1e-6)


@BOTH
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_gives_sound_boxes(ready, frames, implementation, precision):
    half = ready(implementation, precision=precision)
    found = half.propose(frames, NOUNS, 5)
    assert found
    assert all(0 <= p.score <= 1 and 0 <= p.box.x0 < p.box.x1 <= 72 for p in found)
    assert half.identity.endswith(precision)


@BOTH
def test_check_loads_runs_and_says_what_it_is(engine, implementation):
    loaded = engine(implementation)
    line = loaded.check()
    assert "\n" not in line
    for word in ("GroundingDINO", implementation, "cpu", "fp32", "5.2 M parameters"):
        assert word in line
    assert loaded._network is not None


def test_the_identity_names_what_changes_results_and_no_path(engine, saved):
    base = engine()
    assert base._network is None
    for more in (
        {"box_threshold": 0.4},
        {"text_threshold": 0.3},
        {"nms_iou": 0.5},
        {"shorter": 48},
        {"precision": "bf16"},
    ):
        assert engine(**more).identity != base.identity
    for more in ({"batch": 1}, {"device": "cpu"}):
        assert engine(**more).identity == base.identity
    assert engine("transformers").identity != base.identity
    assert base._network is None
    for options in saved.values():
        assert options["checkpoint"] not in base.identity


def test_the_profiles_name_leads_here(saved, tmp_path):
    spec = EngineSpec(name="grounding_dino", options=saved["groundingdino"])
    loaded = load_engine("detector", spec, Folder(str(tmp_path)))
    assert loaded.identity.startswith("GroundingDINO, groundingdino-py")
    with pytest.raises(UserError, match=r"engines\.detector\.options: checkpoint"):
        load_engine("detector", EngineSpec(name="grounding_dino"), Folder(str(tmp_path)))


def test_upstreams_warnings_reach_nobody(engine, frames, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine().propose(frames, NOUNS, 5)
    assert [str(w.message) for w in caught] == []
    assert capfd.readouterr() == ("", "")
