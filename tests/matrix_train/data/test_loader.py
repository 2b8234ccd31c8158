"""Batches in order, whatever reads them; the end of a run whose shards are too bad."""

import json

import pytest
import torch

from matrix_train.attention.roles import query_weights
from matrix_train.data import Batch, open_stream
from matrix_train.errors import UserError
from tests.matrix_train.data.shards import FRAMES, GRID, HEIGHT, WIDTH, config, tamper


def take(folder, tokenizer, count, position=0, rank=0, world=1, **changes) -> list[Batch]:
    settings = config(folder, **changes)
    with open_stream(
        settings, "train", tokenizer, GRID, 2, seed=1, rank=rank, world=world, position=position
    ) as stream:
        return [next(stream) for _ in range(count)]


def same(one: Batch, other: Batch) -> bool:
    names = ("video", "masks", "pairs", "id_map", "input_ids", "aligned", "flipped")
    rows = ((getattr(one.roles, n), getattr(other.roles, n)) for n in ("text", "video"))
    return (
        (one.keys, one.epoch, one.position, one.interactions)
        == (other.keys, other.epoch, other.position, other.interactions)
        and all(torch.equal(getattr(one, n), getattr(other, n)) for n in names)
        and all(torch.equal(a.index, b.index) and torch.equal(a.weight, b.weight) for a, b in rows)
    )


def test_workers_and_a_new_start_change_nothing(dataset, tokenizer) -> None:
    alone = take(dataset, tokenizer, 12)
    assert [b.position for b in alone] == list(range(12))
    assert alone[-1].epoch >= 2
    helped = take(dataset, tokenizer, 12, workers=2)
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))
    resumed = take(dataset, tokenizer, 5, position=7)
    assert all(same(a, b) for a, b in zip(alone[7:], resumed, strict=True))


def test_training_s_random_numbers_are_left_alone(dataset, tokenizer) -> None:
    torch.manual_seed(0)
    want = torch.rand(1)
    torch.manual_seed(0)
    take(dataset, tokenizer, 1)
    assert torch.equal(torch.rand(1), want)


def test_two_ranks_share_an_epoch(dataset, tokenizer) -> None:
    ranks = [take(dataset, tokenizer, 2, rank=rank, world=2) for rank in range(2)]
    one, other = ({key for batch in rank for key in batch.keys} for rank in ranks)
    assert not one & other


def test_what_a_batch_holds(dataset, tokenizer) -> None:
    (batch,) = take(dataset, tokenizer, 1)
    assert batch.video.shape == (2, FRAMES, 3, HEIGHT, WIDTH)
    assert (batch.video.dtype, batch.masks.dtype, batch.id_map.dtype) == (torch.uint8,) * 3
    most = max(map(len, batch.interactions))
    assert batch.masks.shape == (2, max(map(len, batch.ids)), FRAMES, HEIGHT, WIDTH)
    assert batch.pairs.shape == (2, most, 2)
    assert batch.id_map.shape == (2, 3, HEIGHT, WIDTH)
    assert batch.input_ids.shape == (2, 226)
    assert batch.aligned.tolist() == [True, True]
    held = batch.roles.video.dense(GRID.cells).unflatten(1, (most, 3))
    words = batch.roles.text.present.unflatten(1, (most, 3))
    for i, acts in enumerate(batch.interactions):
        for k, act in enumerate(acts):
            assert [batch.ids[i][place] for place in batch.pairs[i, k]] == [act.subject, act.object]
            want = query_weights(batch.masks[i : i + 1, batch.pairs[i, k], 0], GRID.frames, GRID.height, GRID.width)
            assert torch.allclose(held[i, k, [0, 2]], want[0])
            assert words[i, k].all()
        assert not held[i, len(acts) :].any() and not words[i, len(acts) :].any()
        assert (batch.pairs[i, len(acts) :] == -1).all()
    assert not held[:, :, 1].any()
    moved = batch.to("meta")
    assert {moved.video.device.type, moved.roles.text.index.device.type, moved.aligned.device.type} == {"meta"}
    assert moved.keys == batch.keys


def test_without_words_there_is_nothing_to_ground_and_cells_stay(dataset, tokenizer) -> None:
    (batch,) = take(dataset, tokenizer, 1, max_tokens=8)
    assert batch.aligned.tolist() == [False, False]
    assert not batch.roles.text.present.any()
    assert batch.roles.video.present.any(dim=1).all()
    assert batch.skips["truncated"] >= 2


def spoil(folder, tokenizer, count: int) -> list[str]:
    """Damages that many samples, those that come first with seed 1."""
    with open_stream(config(folder), "train", tokenizer, GRID, 2, seed=1) as stream:
        keys = list(stream.plan.order(0)[:count])
    for key in keys:
        tamper(folder, key, lambda files: {**files, "txt": b"another"})
    return keys


def test_bad_entries_within_the_share_are_counted_once(damaged, tokenizer) -> None:
    (key,) = spoil(damaged, tokenizer, 1)
    with open_stream(config(damaged, max_bad_share=0.3), "train", tokenizer, GRID, 2, seed=1) as stream:
        batches = [next(stream) for _ in range(3 * stream.plan.batches_per_epoch)]
        assert list(stream.bad) == [key]
        assert stream.samples == 2 * len(batches)
        met = [b.reason for batch in batches for b in batch.bad]
        assert len(met) >= 3  # once an epoch, and once more where the end of an epoch is filled up
        assert set(met) == {"caption_differs"}
    assert all(len(batch.keys) == 2 and key not in batch.keys for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_beyond_the_share_the_run_ends_with_names(damaged, tokenizer, workers) -> None:
    keys = spoil(damaged, tokenizer, 3)
    words = r"^[34] of \d+ entries seen are bad \([34] caption_differs\); the limit is data.max_bad_share=0.25: "
    with open_stream(
        config(damaged, max_bad_share=0.25, workers=workers), "train", tokenizer, GRID, 2, seed=1
    ) as stream:
        with pytest.raises(UserError, match=words) as caught:
            for _ in range(stream.plan.batches_per_epoch):
                next(stream)
        assert all(f"{stream.dataset.rows[key].shard}: {key}: caption_differs" in str(caught.value) for key in keys)
        with pytest.raises(RuntimeError, match="closed"):
            next(stream)


def test_one_bad_entry_ends_a_run_that_allows_none(damaged, tokenizer) -> None:
    spoil(damaged, tokenizer, 1)
    with open_stream(config(damaged, max_bad_share=0), "train", tokenizer, GRID, 2, seed=1) as stream:
        with pytest.raises(UserError, match="1 of 1 entries seen are bad"):
            next(stream)


def test_a_dataset_of_bad_entries_ends_even_where_all_may_be_bad(damaged, tokenizer) -> None:
    with open_stream(config(damaged, frames=13), "train", tokenizer, GRID, 2, seed=1) as stream:
        with pytest.raises(UserError, match="too_short"):
            next(stream)


def test_the_state_is_plain_data_and_comes_back(damaged, tokenizer) -> None:
    spoil(damaged, tokenizer, 1)
    settings = config(damaged, max_bad_share=0.5)
    with open_stream(settings, "train", tokenizer, GRID, 2, seed=1) as stream:
        for _ in range(2):
            next(stream)
        state = json.loads(json.dumps(stream.state()))
        next(stream)
        want = stream.state()
    with open_stream(settings, "train", tokenizer, GRID, 2, seed=1, position=2) as stream:
        stream.restore(state)
        next(stream)
        assert stream.state() == want
    with open_stream(settings, "train", tokenizer, GRID, 2, seed=1, position=3) as stream:
        with pytest.raises(UserError, match="stands at batch 2 and its step at 3"):
            stream.restore(state)
    with open_stream(settings, "val", tokenizer, GRID, 2, seed=1, position=2) as stream:
        with pytest.raises(UserError, match="has changed since the checkpoint"):
            stream.restore(state)
