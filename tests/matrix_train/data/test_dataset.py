"""What a sample holds, against the shard read in other ways."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from matrix_train.attention.prompts import encode
from matrix_train.data import GaveUp, MatrixDataset, TrainSample
from matrix_train.data.dataset import UNFLIPPED
from matrix_train.data.plan import Ref
from schemas import Sample, TrackFile
from schemas.dataset import IndexRow
from schemas.palette import PALETTE, colour
from tasks.dataset.idmap import decode_id_map
from tasks.dataset.reader import RawEntry, read_raw
from tasks.media.clips import decode_mask, read_frames
from tasks.store.folder import Folder
from tests.matrix_train.data.shards import FRAMES, HEIGHT, WIDTH, config, tamper


def raw_entry(folder: Path, row: IndexRow) -> RawEntry:
    return next(raw for raw in read_raw(Folder(str(folder)), row.shard) if raw.key == row.key)


def open_dataset(folder: Path, tokenizer, **changes) -> MatrixDataset:
    return MatrixDataset(config(folder, **changes), "train", tokenizer, seed=0)


def samples(data: MatrixDataset, epoch: int = 0) -> list[TrainSample]:
    found = [data[Ref(epoch, place, place)] for place in range(len(data))]
    assert all(isinstance(sample, TrainSample) for sample in found)
    return found  # type: ignore[return-value]


def test_a_sample_is_what_the_shard_holds(dataset, tokenizer, tmp_path) -> None:
    data = open_dataset(dataset, tokenizer)
    for sample in samples(data):
        raw = raw_entry(dataset, data.rows[sample.key])
        record, tracks = (
            Sample.model_validate_json(raw.files["json"]),
            TrackFile.model_validate_json(raw.files["tracks.json"]),
        )
        assert sample.caption == record.caption
        assert sample.interaction in record.interactions
        mp4 = tmp_path / "clip.mp4"
        mp4.write_bytes(raw.files["mp4"])
        assert np.array_equal(sample.video.permute(0, 2, 3, 1), read_frames(mp4))
        for name, masks in ((sample.interaction.subject, sample.subject), (sample.interaction.object, sample.object)):
            want = [decode_mask(m.counts if m else None, HEIGHT, WIDTH) for m in tracks.tracks[name]]
            assert masks.dtype == torch.bool
            assert np.array_equal(masks, np.stack(want))
        indices = decode_id_map(raw.files["idmap.png"], HEIGHT, WIDTH)
        assert np.array_equal(sample.id_map.permute(1, 2, 0), np.array(PALETTE, np.uint8)[indices])
        assert sample.input_ids.shape == (226,)
        assert torch.allclose(sample.text.sum(dim=1), torch.ones(3))
        assert sample.bad == ()


def test_the_role_tokens_say_the_roles(dataset, tokenizer) -> None:
    sample = samples(open_dataset(dataset, tokenizer))[0]
    prompt = encode(tokenizer, sample.caption, [sample.interaction.spans])
    for weights, tokens in zip(sample.text, prompt.interactions[0].sets(), strict=True):
        assert tuple(weights.nonzero().flatten().tolist()) == tokens


def test_instances_without_the_chosen_roles_stay_in_the_id_map(dataset, tokenizer) -> None:
    data = open_dataset(dataset, tokenizer)
    crowded = next(s for s in samples(data) if data.rows[s.key].instances == 4)
    others = set(data.rows[crowded.key].ids) - {crowded.interaction.subject, crowded.interaction.object}
    shown = {tuple(pixel) for pixel in crowded.id_map.flatten(1).T.tolist()}
    assert others
    assert {colour(name) for name in others} <= shown


def test_every_interaction_is_seen_over_epochs(dataset, tokenizer) -> None:
    data = open_dataset(dataset, tokenizer)
    seen: dict[str, list[str]] = {key: [] for key in data.rows}
    for epoch in range(3):
        for sample in samples(data, epoch):
            seen[sample.key].append(sample.interaction.text)
    for key, texts in seen.items():
        count = data.rows[key].interactions
        assert len(set(texts)) == min(count, 3)


def test_frame_step_and_another_size(dataset, tokenizer) -> None:
    whole, cut = (
        open_dataset(dataset, tokenizer),
        open_dataset(dataset, tokenizer, frames=5, frame_step=2, height=48, width=64),
    )
    for full, small in zip(samples(whole), samples(cut), strict=True):
        assert small.video.shape == (5, 3, 48, 64)
        assert small.subject.shape == (5, 48, 64)
        assert small.id_map.shape == (3, 48, 64)
        # Half the height; 72 columns become 64.
        assert torch.equal(small.subject, full.subject[::2, 1::2, 9:137:2])
        assert (small.video.float() - full.video[::2, :, 1::2, 9:137:2].float()).abs().mean() < 12


def test_flip_mirrors_all_and_leaves_captions_that_name_a_side(damaged, tokenizer) -> None:
    plain = samples(open_dataset(damaged, tokenizer))
    for straight, mirrored in zip(plain, samples(open_dataset(damaged, tokenizer, flip=1.0)), strict=True):
        assert mirrored.flipped
        for name in ("video", "subject", "object", "id_map"):
            assert torch.equal(getattr(mirrored, name), getattr(straight, name).flip(-1)), name
        assert torch.equal(mirrored.text, straight.text)
        assert mirrored.caption == straight.caption
    sided = plain[0].caption + " It is on the left."

    def say_left(files):
        return {**files, "txt": sided.encode(), "json": files["json"].replace(
            f'"caption":"{plain[0].caption}"'.encode(), f'"caption":"{sided}"'.encode()
        )}  # fmt: skip

    tamper(damaged, plain[0].key, say_left, caption=sided)
    kept = samples(open_dataset(damaged, tokenizer, flip=1.0))[0]
    assert kept.key == plain[0].key
    assert not kept.flipped
    assert kept.passed == {UNFLIPPED: 1}
    assert torch.equal(kept.video, plain[0].video)


def test_a_role_that_is_cut_off_gives_way_to_another_interaction(dataset, tokenizer) -> None:
    """With room for the first interaction only, all epochs show that one and count the others."""
    whole = samples(open_dataset(dataset, tokenizer))
    data = open_dataset(dataset, tokenizer)
    key = next(s.key for s in whole if data.rows[s.key].interactions == 3)
    raw = raw_entry(dataset, data.rows[key])
    record = Sample.model_validate_json(raw.files["json"])
    ends = [
        max(o.object) for o in encode(tokenizer, record.caption, [a.spans for a in record.interactions]).interactions
    ]
    short = open_dataset(dataset, tokenizer, max_tokens=min(ends) + 2)
    passed = []
    for epoch in range(3):
        sample = next(s for s in samples(short, epoch) if s.key == key)
        assert sample.interaction == record.interactions[0]
        assert sample.skip is None
        passed.append(sample.passed["truncated"])
    assert sorted(passed) == [0, 1, 2]


def test_a_clip_with_nothing_to_align_keeps_its_video(dataset, tokenizer) -> None:
    for sample in samples(open_dataset(dataset, tokenizer, max_tokens=8)):
        assert sample.skip == "truncated"
        assert not sample.text.any()
        assert sample.passed["truncated"] >= 1
        assert sample.video.shape == (FRAMES, 3, HEIGHT, WIDTH)


def test_only_the_first_frame_is_decoded_on_wish(dataset, tokenizer) -> None:
    whole = open_dataset(dataset, tokenizer)
    first = MatrixDataset(config(dataset), "train", tokenizer, seed=0, decode_video=False)
    for full, short in zip(samples(whole), samples(first), strict=True):
        assert torch.equal(short.video, full.video[:1])
        assert torch.equal(short.subject, full.subject)


def test_the_next_good_sample_stands_in_for_a_bad_one(damaged, tokenizer) -> None:
    order = open_dataset(damaged, tokenizer).plan.order(0)
    for key in order[2:4]:
        tamper(damaged, key, lambda files: {**files, "txt": b"other"})
    found = samples(open_dataset(damaged, tokenizer))
    assert [s.key for s in found] == [*order[:2], order[4], order[4], *order[4:]]
    assert [[b.key for b in s.bad] for s in found[:5]] == [[], [], list(order[2:4]), [order[3]], []]


def test_a_folder_that_breaks_down_is_no_bad_entry(damaged, tokenizer) -> None:
    data = open_dataset(damaged, tokenizer)
    shard = damaged / data.rows[data.plan.order(0)[0]].shard
    shard.unlink()
    shard.mkdir()
    result = data[Ref(0, 0, 0)]
    assert isinstance(result, GaveUp)
    assert result.bad == ()
    assert result.message.startswith(f"cannot read {shard.name} in ")


def test_a_pickled_dataset_gives_the_same(dataset, tokenizer) -> None:
    data = open_dataset(dataset, tokenizer)
    again = pickle.loads(pickle.dumps(data))
    one, other = data[Ref(0, 0, 0)], again[Ref(0, 0, 0)]
    for name in ("video", "subject", "text", "input_ids"):
        value: Tensor = getattr(one, name)
        assert torch.equal(value, getattr(other, name))


@pytest.mark.parametrize("split", ["train", "val"])
def test_length_is_that_of_the_split(dataset, tokenizer, split) -> None:
    data = MatrixDataset(config(dataset), split, tokenizer, seed=0)
    assert len(data) == len(data.rows) == len(data.plan.keys)
