"""What a sample holds, against the shard read in other ways."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from matrix_train.attention.prompts import encode
from matrix_train.data import GaveUp, MatrixDataset, TrainSample
from matrix_train.data.dataset import UNFLIPPED
from matrix_train.data.entry import Bad
from matrix_train.data.plan import Ref
from schemas import Sample, TrackFile
from schemas.dataset import IndexRow
from schemas.idmap import decode_id_map
from schemas.palette import PALETTE, colour
from schemas.review import REVIEW_FILE
from tasks.dataset.reader import RawEntry, read_raw
from tasks.media.clips import decode_mask, read_frames
from tasks.store.folder import Folder
from tests.labels import write_labels
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
        assert sample.interactions == record.interactions
        mp4 = tmp_path / "clip.mp4"
        mp4.write_bytes(raw.files["mp4"])
        assert np.array_equal(sample.video.permute(0, 2, 3, 1), read_frames(mp4))
        named = {name for act in record.interactions for name in (act.subject, act.object)}
        assert set(sample.ids) == named
        for name, masks in zip(sample.ids, sample.masks, strict=True):
            want = [decode_mask(m.counts if m else None, HEIGHT, WIDTH) for m in tracks.tracks[name]]
            assert masks.dtype == torch.bool
            assert np.array_equal(masks, np.stack(want))
        indices = decode_id_map(raw.files["idmap.png"], HEIGHT, WIDTH)
        assert np.array_equal(sample.id_map.permute(1, 2, 0), np.array(PALETTE, np.uint8)[indices])
        assert sample.input_ids.shape == (226,)
        assert torch.allclose(sample.text.sum(dim=2), torch.ones(len(record.interactions), 3))
        assert sample.bad == ()


def test_the_role_tokens_say_the_roles(dataset, tokenizer) -> None:
    for sample in samples(open_dataset(dataset, tokenizer)):
        prompt = encode(tokenizer, sample.caption, [act.spans for act in sample.interactions])
        for roles, found in zip(sample.text, prompt.interactions, strict=True):
            for weights, tokens in zip(roles, found.sets(), strict=True):
                assert tuple(weights.nonzero().flatten().tolist()) == tokens


def test_all_instances_are_in_the_id_map(dataset, tokenizer) -> None:
    data = open_dataset(dataset, tokenizer)
    crowded = next(s for s in samples(data) if data.rows[s.key].instances == 4)
    shown = {tuple(pixel) for pixel in crowded.id_map.flatten(1).T.tolist()}
    assert {colour(name) for name in data.rows[crowded.key].ids} <= shown


def test_frame_step_and_another_size(dataset, tokenizer) -> None:
    whole, cut = (
        open_dataset(dataset, tokenizer),
        open_dataset(dataset, tokenizer, frames=5, frame_step=2, height=48, width=64),
    )
    for full, small in zip(samples(whole), samples(cut), strict=True):
        assert small.video.shape == (5, 3, 48, 64)
        assert small.masks.shape == (len(small.ids), 5, 48, 64)
        assert small.id_map.shape == (3, 48, 64)
        # Half the height; 72 columns become 64.
        assert torch.equal(small.masks, full.masks[:, ::2, 1::2, 9:137:2])
        assert (small.video.float() - full.video[::2, :, 1::2, 9:137:2].float()).abs().mean() < 12


def test_flip_mirrors_all_and_leaves_captions_that_name_a_side(damaged, tokenizer) -> None:
    plain = samples(open_dataset(damaged, tokenizer))
    for straight, mirrored in zip(plain, samples(open_dataset(damaged, tokenizer, flip=1.0)), strict=True):
        assert mirrored.flipped
        for name in ("video", "masks", "id_map"):
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


def test_an_interaction_that_is_cut_off_has_no_tokens_and_the_others_keep_theirs(dataset, tokenizer) -> None:
    """With room for the first interaction only."""
    data = open_dataset(dataset, tokenizer)
    whole = next(s for s in samples(data) if len(s.interactions) == 3)
    ends = [int(roles.any(dim=0).nonzero().max()) for roles in whole.text]
    cut = samples(open_dataset(dataset, tokenizer, max_tokens=min(ends) + 2))
    short = next(s for s in cut if s.key == whole.key)
    assert short.interactions == whole.interactions
    assert short.text.any(dim=(1, 2)).tolist() == [end == min(ends) for end in ends]
    assert short.passed == {"truncated": 2}
    assert torch.equal(short.masks, whole.masks)


def test_a_clip_whose_prompt_holds_no_interaction_keeps_its_video_and_masks(dataset, tokenizer) -> None:
    for sample in samples(open_dataset(dataset, tokenizer, max_tokens=8)):
        assert not sample.text.any()
        assert sample.passed["truncated"] == len(sample.interactions)
        assert sample.video.shape == (FRAMES, 3, HEIGHT, WIDTH)
        assert sample.masks.any(dim=(1, 2, 3)).all()


def test_only_the_first_frame_is_decoded_on_wish(dataset, tokenizer) -> None:
    whole = open_dataset(dataset, tokenizer)
    first = MatrixDataset(config(dataset), "train", tokenizer, seed=0, decode_video=False)
    for full, short in zip(samples(whole), samples(first), strict=True):
        assert torch.equal(short.video, full.video[:1])
        assert torch.equal(short.masks, full.masks)


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
    for name in ("video", "masks", "text", "input_ids"):
        value: Tensor = getattr(one, name)
        assert torch.equal(value, getattr(other, name))


@pytest.mark.parametrize("split", ["train", "val"])
def test_length_is_that_of_the_split(dataset, tokenizer, split) -> None:
    data = MatrixDataset(config(dataset), split, tokenizer, seed=0)
    assert len(data) == len(data.rows) == len(data.plan.keys)


def test_people_win_over_the_shards(damaged, tokenizer) -> None:
    """A mended track, one that was taken out, and a sample that is gone; the order is that of another dataset."""
    before = open_dataset(damaged, tokenizer)
    many, gone = (next(k for k, row in before.rows.items() if row.instances == n) for n in (4, 2))
    write_labels(Folder(str(damaged)), {many: {"id1": "fix", "id2": "drop"}, gone: {"id1": "drop"}})
    data = pickle.loads(pickle.dumps(open_dataset(damaged, tokenizer)))
    assert len(data) == len(before) - 1 and data.identity != before.identity
    sample, was = (next(s for s in samples(d) if s.key == many) for d in (data, before))
    assert (sample.ids, was.ids) == (("id1", "id3", "id4"), ("id1", "id2", "id3", "id4"))
    assert not sample.masks[0, 0].any() and torch.equal(sample.masks[0, 1:], was.masks[0, 1:])
    assert {a.object for a in sample.interactions} == {"id3", "id4"}
    taken = {colour("id1"), colour("id2")}
    assert not taken & {tuple(c) for c in sample.id_map.flatten(1).T.tolist()}
    write_labels(Folder(str(damaged)), {gone: {}})
    label = pq.read_table(damaged / REVIEW_FILE)
    pq.write_table(label.set_column(label.schema.get_field_index("height"), label.schema.field("height"),
                                    pa.array([7] * len(label))), damaged / REVIEW_FILE)  # fmt: skip
    data = open_dataset(damaged, tokenizer)
    with pytest.raises(Bad, match="another size"):
        data.entry(data.rows[gone])
