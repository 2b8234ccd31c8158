"""Where models run, and what happens when a batch does not fit into CUDA's memory."""

import gc
import logging
import weakref

import pytest
import torch

from tasks.engines.devices import in_parts, pick_device, pick_dtype
from tasks.errors import InfrastructureError, UserError


@pytest.fixture(params=[0, 2])
def gpus(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    return request.param


def test_auto_is_a_gpu_where_there_is_one(gpus):
    assert pick_device("auto", "sam2").type == ("cuda" if gpus else "cpu")
    assert pick_device("cpu", "sam2") == torch.device("cpu")


@pytest.mark.parametrize(("wanted", "needed"), [("cuda", 1), ("cuda:0", 1), ("cuda:1", 2), ("cuda:2", 3)])
def test_a_gpu_that_is_not_there_is_told_with_what_to_do(gpus, wanted, needed):
    if gpus >= needed:
        assert pick_device(wanted, "sam2") == torch.device(wanted)
        return
    with pytest.raises(UserError, match=f"sam2: device '{wanted}' was asked for, .* sees {gpus} GPUs: .*device: auto"):
        pick_device(wanted, "sam2")


@pytest.mark.parametrize("wanted", ["gpu", "", "cuda:x", "meta", "CPU"])
def test_other_names_are_told(wanted):
    with pytest.raises(UserError, match="use auto, cpu, cuda, cuda:N or mps"):
        pick_device(wanted, "sam2")


@pytest.mark.parametrize("there", [True, False])
def test_a_macs_gpu_is_taken_where_it_is_asked_for_and_there(there, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    if there:
        assert pick_device("mps", "sam2") == torch.device("mps")
        assert pick_dtype("auto", torch.device("mps")) is torch.bfloat16
    else:
        with pytest.raises(UserError, match="no Mac"):
            pick_device("mps", "sam2")


@pytest.mark.parametrize(
    ("wanted", "device", "dtype"),
    [
        ("auto", "cuda", torch.bfloat16),
        ("auto", "cpu", torch.float32),
        ("fp32", "cuda", torch.float32),
        ("fp16", "cuda", torch.float16),
        ("bf16", "cpu", torch.bfloat16),
    ],
)
def test_precision(wanted, device, dtype):
    assert pick_dtype(wanted, torch.device(device)) is dtype


class Cramped:
    """Doubles its items; CUDA's memory is said to be out above `room` of them."""

    def __init__(self, room):
        self.room, self.sizes, self.tensors = room, [], []

    def __call__(self, part):
        self.sizes.append(len(part))
        batch = torch.zeros(len(part))
        self.tensors.append(weakref.ref(batch))
        if len(part) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [2 * x for x in part]


@pytest.mark.parametrize(
    ("count", "size", "room", "sizes"),
    [
        (5, 2, 9, [2, 2, 1]),
        (4, 8, 9, [4]),
        (0, 8, 9, []),
        (9, 8, 4, [8, 4, 4, 1]),
        (7, 8, 3, [7, 3, 3, 1]),
        (3, 8, 1, [3, 1, 1, 1]),
    ],
)
def test_parts_keep_the_order_and_halve_for_good_when_memory_is_out(count, size, room, sizes, caplog):
    run = Cramped(room)
    with caplog.at_level(logging.WARNING):
        assert in_parts(range(count), run, size, "detector") == [2 * x for x in range(count)]
    assert run.sizes == sizes
    halvings = [n for n in sizes if n > room]
    assert len(caplog.records) == len(halvings)
    assert all(r.message.startswith("detector: CUDA out of memory with") for r in caplog.records)


def test_what_fails_with_a_single_item_is_the_worlds_fault():
    run = Cramped(0)
    with pytest.raises(InfrastructureError, match="detector: CUDA out of memory with a single item: free the GPU"):
        in_parts([1, 2, 3], run, 3, "detector")
    assert run.sizes == [3, 1]


def test_a_failed_batch_is_not_kept_alive_while_the_next_runs():
    run, alive = Cramped(1), []

    def watched(part):
        gc.collect()
        alive.append(sum(t() is not None for t in run.tensors))
        return run(part)

    in_parts([1, 2], watched, 2, "detector")
    assert alive == [0, 0, 0]


def test_other_errors_pass_unchanged():
    def broken(part):
        raise ValueError("not about memory")

    with pytest.raises(ValueError, match="not about memory"):
        in_parts([1, 2], broken, 2, "detector")
