import logging
import re
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from schemas import Verified
from schemas.row import Status
from schemas.settings import validate
from tasks.engines.sam2 import engine as module
from tasks.engines.sam2.options import Sam2Options
from tasks.errors import InfrastructureError
from tasks.store.folder import Folder
from tasks.track.stage import TrackSettings, track
from tests.builders import make_case
from tests.tasks.engines.sam2.scenes import IMPLEMENTATIONS, anchor, difference, masks_of, scene, three_anchors, tracker
from tests.tasks.engines.tiny_sam2 import IMAGE_SIZE, save_tiny


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def either(request, tmp_path_factory):
    return tracker(tmp_path_factory.mktemp("either"), request.param)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tracker(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module", params=[*IMPLEMENTATIONS, "sam3"])
def each(request, tmp_path_factory):
    return tracker(tmp_path_factory.mktemp("each"), request.param)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_ids_tracked_together_get_what_each_gets_alone(each, count):
    frames = scene(9)
    anchors = [anchor(k + 1, (4 * k) % 9, (3 + 9 * k, 5 + 4 * k, 25 + 9 * k, 30 + 4 * k)) for k in range(count)]
    together = each.propagate(frames, anchors)
    alone = [each.propagate(frames, [a])[0] for a in anchors]
    assert difference(together, alone, frames) < 1e-3


def test_masks_that_never_show_are_none(original, monkeypatch):
    monkeypatch.setattr(
        "tasks.engines.sam2.sweep.to_masks", lambda logits, shape: np.zeros((len(logits), *shape), bool)
    )
    (found,) = original.propagate(scene(3), [anchor(1, 1, (5, 5, 30, 40))])
    assert found.masks == (None, None, None)


def test_threads_share_one_model(tmp_path, monkeypatch):
    loads = []
    load = module.Sam2Tracker._load

    def counted(self):
        loads.append(self)
        return load(self)

    monkeypatch.setattr(module.Sam2Tracker, "_load", counted)
    shared, frames, results = tracker(tmp_path), scene(4), {}

    def work(k):
        results[k] = shared.propagate(frames, three_anchors()[:1] if k % 2 else [anchor(9, 2, (20, 20, 60, 50))])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(loads) == 1
    assert results[0] == results[2] and results[1] == results[3] and results[0] != results[1]


def test_cuda_out_of_memory_halves_the_ids_at_once_and_says_so(tmp_path, monkeypatch, caplog):
    full, frames = tracker(tmp_path), scene(4)
    anchors = [anchor(k + 1, k % 4, (3 + 9 * k, 5, 25 + 9 * k, 30)) for k in range(5)]
    whole = full.propagate(frames, anchors)
    small = tracker(tmp_path)
    model, sizes = small._loaded(), []
    follow = model.follow

    def cramped(features, t, memories, backwards, length):
        sizes.append(len(memories))
        if len(memories) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return follow(features, t, memories, backwards, length)

    monkeypatch.setattr(model, "follow", cramped)
    with caplog.at_level(logging.WARNING):
        assert difference(small.propagate(frames, anchors), whole, frames) < 1e-3
    assert [r.args[2] for r in caplog.records if "out of memory" in r.message] == [2, 1]
    sizes.clear()
    small.propagate(frames, anchors)
    assert max(sizes) == 1  # later clips begin with what fits

    def full_gpu(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "follow", full_gpu)
    with pytest.raises(InfrastructureError, match="sam2: CUDA out of memory with a single item"):
        small.propagate(frames, anchors)


def test_a_limit_of_ids_at_once_changes_nothing(tmp_path, original):
    frames, anchors = scene(8), [a.model_copy(update={"frame": a.frame % 8}) for a in three_anchors()]
    limited = tracker(tmp_path, max_objects=1)
    assert difference(limited.propagate(frames, anchors), original.propagate(frames, anchors), frames) < 1e-3


def test_weights_come_from_pt_and_safetensors_alike(tmp_path, original):
    options = save_tiny(tmp_path, "sam2", 0)
    weights = torch.load(options["checkpoint"], weights_only=True)["model"]
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "tiny.safetensors")
    other = tracker(tmp_path, checkpoint=str(tmp_path / "tiny.safetensors"), config=options["config"])
    frames = scene(3)
    assert other.propagate(frames, three_anchors()[:0]) == []
    assert other.propagate(frames, [anchor(1, 1, (5, 5, 30, 40))]) == original.propagate(
        frames, [anchor(1, 1, (5, 5, 30, 40))]
    )


def test_check_loads_and_tells_what_it_found(either):
    told = either.check()
    assert re.fullmatch(r"(sam2|transformers) [\w.-]+, cpu, fp32, \d\.\d M parameters", told)


def test_identity_is_known_without_weights_and_names_all_that_changes_masks(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Sam2Tracker, "_load", lambda self: pytest.fail("weights were loaded"))
    plain = tracker(tmp_path).identity
    assert plain == tracker(tmp_path / "elsewhere").identity
    assert str(tmp_path) not in plain and "float32" in plain
    assert tracker(tmp_path, max_objects=3, offload_features=True, device="auto").identity == plain
    changed = [
        tracker(tmp_path, seed=1),
        tracker(tmp_path, "transformers"),
        tracker(tmp_path, precision="bf16"),
        tracker(tmp_path, image_size=64),
        tracker(tmp_path, window=64),
        tracker(tmp_path, overlap=4),
    ]
    assert len({plain, *(t.identity for t in changed)}) == 7


def test_identity_of_a_name_on_the_hub():
    options = {"implementation": "transformers", "checkpoint": "facebook/sam2.1-hiera-large", "device": "cpu"}
    named = module.Sam2Tracker(validate(Sam2Options, options), Folder("/nowhere"))
    pinned = module.Sam2Tracker(validate(Sam2Options, options | {"revision": "abc"}), Folder("/nowhere"))
    assert "facebook/sam2.1-hiera-large@main" in named.identity and "-large@abc" in pinned.identity


def test_another_image_size_for_the_same_weights(tmp_path, either):
    frames = scene(3)
    anchors = [anchor(1, 1, (5, 5, 30, 40))]
    name = either.options.implementation
    same = tracker(tmp_path, name, image_size=IMAGE_SIZE).propagate(frames, anchors)
    assert same == either.propagate(frames, anchors)
    smaller = tracker(tmp_path, name, image_size=IMAGE_SIZE // 2).propagate(frames, anchors)
    assert any(smaller[0].masks) and smaller != same


def test_half_precision_stays_close(tmp_path, either):
    frames, anchors = scene(8), [anchor(1, 3, (9, 5, 25, 21))]
    half = tracker(tmp_path, either.options.implementation, precision="bf16")
    assert 0 < difference(half.propagate(frames, anchors), either.propagate(frames, anchors), frames) < 0.1


def test_both_implementations_agree_on_the_same_weights(tmp_path, original):
    # at the model's own size, as the two resize frames by different rules
    frames, anchors = scene(24, IMAGE_SIZE, IMAGE_SIZE), three_anchors()
    ported = tracker(tmp_path, "transformers").propagate(frames, anchors)
    ours = original.propagate(frames, anchors)
    for a, b in zip(ours, ported, strict=True):
        x, y = masks_of(a, frames), masks_of(b, frames)
        assert (x & y).sum() / (x | y).sum() > 0.999


def test_windows_keep_ids_and_length(tmp_path, either):
    frames, anchors = scene(26), [anchor(1, 20, (9, 5, 25, 21)), anchor(2, 2, (57, 37, 73, 53))]
    cut = tracker(tmp_path, either.options.implementation, window=10, overlap=3).propagate(frames, anchors)
    assert [t.id for t in cut] == ["id1", "id2"]
    assert all(masks_of(t, frames).any((1, 2)).all() for t in cut)


def test_the_stage_takes_its_tracks(tmp_path, original):
    case = make_case(Folder(str(tmp_path)))
    frames = scene(case.clip.frames, case.clip.height, case.clip.width)
    (row,) = track([case], lambda _: frames, original, TrackSettings())
    assert row.status is Status.ACCEPTED and row.payload.tracker == original.identity
    assert [t.id for t in row.payload.tracks] == [a.id for a in case.of(Verified).anchors]


def test_sam3_takes_another_size_goes_in_windows_and_names_its_licence(tmp_path):
    frames, anchors = scene(20), [anchor(1, 3, (9, 5, 45, 40)), anchor(2, 15, (30, 10, 60, 50))]
    for more in ({"image_size": 224}, {"window": 10, "overlap": 3}):
        found = tracker(tmp_path, "sam3", **more).propagate(frames, anchors)
        assert [len(t.masks) for t in found] == [20, 20] and any(any(t.masks) for t in found)
    assert tracker(tmp_path, "sam3").check().endswith("M parameters, under Meta's SAM License")
