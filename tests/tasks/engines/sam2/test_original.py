from itertools import pairwise

import numpy as np
import pytest
import torch

from tasks.engines.sam2.original import Original, compile_parts
from tasks.engines.sam2.sweep import Windows, track
from tasks.media.clips import decode_mask
from tests.tasks.engines.sam2.scenes import scene
from tests.tasks.engines.sam2.upstream import alone
from tests.tasks.engines.tiny_sam2 import tiny_network

CPU = torch.device("cpu")
WHOLE = Windows(128, 8)
ANCHORS = [
    (20, np.array([44, 5, 60, 21], np.float32)),
    (0, np.array([3, 5, 19, 21], np.float32)),
    (29, np.array([10, 20, 70, 60], np.float32)),
    (20, np.array([8, 37, 24, 53], np.float32)),
]


def run(model, frames, anchors, windows=WHOLE):
    with torch.inference_mode():
        found = track(model, frames, anchors, windows)
    return np.array([[decode_mask(m, *frames.shape[1:3]) for m in masks] for masks in found])


@pytest.fixture(scope="module")
def frames():
    return scene(30)


@pytest.fixture(scope="module")
def network():
    return tiny_network(0)


@pytest.fixture(scope="module")
def together(network, frames):
    return run(Original(network, CPU), frames, ANCHORS)


def test_all_ids_in_one_session_give_what_upstream_gives_each_alone(network, frames, together):
    # 30 frames, so that far more falls out of the memory than stays in it, in both directions
    for (at, box), ours in zip(ANCHORS, together, strict=True):
        theirs = alone(network, frames, at, box)
        assert 0.02 < theirs.mean() < 0.98
        assert np.mean(ours != theirs) < 1e-4


def test_result_depends_on_prompt_frame_and_memory(network, frames, together):
    # else the equalities of this file would say nothing
    assert min(np.mean(a != b) for a, b in pairwise(together)) > 1e-3
    forgetful = Original(network, CPU)
    forgetful.maps = forgetful.pointers = 0
    assert np.mean(run(forgetful, frames, ANCHORS) != together) > 1e-3


def test_batches_filled_up_to_powers_of_two_change_nothing(network, frames, together):
    model = Original(network, CPU, in_powers_of_two=True)
    sizes = []
    decode = network.sam_mask_decoder.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["image_embeddings"])), with_kwargs=True
    )
    try:
        assert np.mean(run(model, frames, ANCHORS) != together) < 1e-4
    finally:
        decode.remove()
    assert set(sizes) <= {1, 2, 4}


@pytest.mark.slow
def test_compiled_parts_give_the_same(frames):
    # the compiler itself needs CUDA to be worth it; here it only traces, which fails where a part cannot be compiled
    frames, anchors = frames[:3], [(0, ANCHORS[0][1])]
    plain = run(Original(tiny_network(0), CPU), frames, anchors)
    network = tiny_network(0)
    compile_parts(network, image_encoder=True, backend="eager")
    assert np.mean(run(Original(network, CPU, in_powers_of_two=True), frames, anchors) != plain) < 1e-4


def test_bf16_autocast_is_close_to_fp32(network, frames, together):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = run(Original(network, CPU), frames, ANCHORS)
    assert 0 < np.mean(half != together) < 0.05
