"""Shards: pure, resumable, growing, and readable without our code."""

import contextlib
import gc
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from pydantic import ValidationError

from schemas import Captioned, Curated, Sample, Tracked, TrackFile, Verified
from schemas.dataset import SUFFIXES
from schemas.palette import colour
from tasks.dataset.reader import decode_index, read_dataset, read_raw, stream
from tasks.dataset.split import split_of
from tasks.errors import UserError
from tasks.media.clips import decode_mask
from tasks.outcome import Case
from tasks.shard.entry import build_entry
from tasks.shard.stage import ShardSettings, write_dataset
from tasks.store.folder import Folder
from tests.builders import FINGERPRINTS, VERBS, kin_of, make_case, make_dataset

SETTINGS = ShardSettings(max_samples=3, val_share=0.25)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def cases(work: Path) -> list[Case]:
    store = Folder(str(work / "work"))
    return [make_case(store, seed, things=1 + seed % 3, frames=5, note=f"Näher {seed} ☂") for seed in range(12)]


def contents(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.names()}


def build(work: Path, dest: Folder, cases: list[Case], settings: ShardSettings = SETTINGS):
    by_key = {c.clip.clip_id: c for c in cases}
    store = Folder(str(work / "work"))
    return write_dataset(list(by_key), by_key.__getitem__, kin_of(cases), store, dest, settings, FINGERPRINTS)


@pytest.fixture(scope="module")
def built(work: Path, cases: list[Case]) -> Folder:
    folder, summary = make_dataset(work, cases)
    assert summary.counts.samples == summary.added == 12
    return folder


def test_account_index_and_shards_agree(built: Folder, cases: list[Case]) -> None:
    account = read_dataset(built)
    assert account is not None
    rows = decode_index(built.read("index.parquet"))
    assert [r.key for r in rows] == sorted(c.clip.clip_id for c in cases)
    assert account.counts.samples == account.counts.train + account.counts.val == 12
    assert account.counts.val == sum(split_of(r.group, 0.25) == "val" for r in rows) > 0
    assert account.counts.bytes == sum(s.bytes for s in account.shards)
    assert account.fingerprints == FINGERPRINTS
    by_shard = {s.name: s for s in account.shards}
    for split in ("train", "val"):
        names = [name for name in by_shard if name.startswith(split)]
        assert names == [f"{split}-{number:06d}.tar" for number in range(len(names))]
    assert len(by_shard) > 3
    assert sorted([*by_shard, "README.md", "dataset.json", "index.parquet"]) == built.names()
    for shard in account.shards:
        data = built.read(shard.name)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (shard.sha256, shard.bytes)
        assert shard.samples <= 3
        for raw in read_raw(built, shard.name):
            row = next(r for r in rows if r.key == raw.key)
            assert (row.shard, row.split, row.offset, row.bytes) == (shard.name, shard.split, raw.offset, raw.size)
            # The index alone is enough to read one entry at random.
            with members(data[row.offset : row.offset + row.bytes]) as names:
                assert names == [f"{row.key}.{s}" for s in SUFFIXES]


@contextlib.contextmanager
def members(data: bytes) -> Iterator[list[str]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        yield tar.getnames()


def test_an_entry_holds_the_case(built: Folder, cases: list[Case]) -> None:
    by_key = {c.clip.clip_id: c for c in cases}
    for loaded in stream(built):
        case = by_key.pop(loaded.sample.clip_id)
        assert hashlib.sha256(loaded.mp4).hexdigest() == case.clip.media_digest
        assert loaded.sample.caption == case.of(Captioned).caption
        assert loaded.sample.interactions == case.of(Captioned).interactions
        assert loaded.sample.anchors == case.of(Verified).anchors
        for track in case.of(Tracked).tracks:
            assert [m and m.counts for m in loaded.tracks.tracks[track.id]] == list(track.masks)
    assert not by_key


def test_only_curated_ids_and_interactions_go_in(work: Path, tmp_path: Path) -> None:
    case = make_case(Folder(str(work / "work")), 40, things=3)
    keep = case.of(Curated).model_copy(
        update={"ids": ("id1", "id3"), "interactions": (case.of(Captioned).interactions[1].text,)}
    )
    case = case.plus(keep)
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, [case])
    loaded = next(stream(dest))
    assert [i.id for i in loaded.sample.instances] == ["id1", "id3"] == [a.id for a in loaded.sample.anchors]
    assert [a.object for a in loaded.sample.interactions] == ["id3"]
    assert {n.id for n in loaded.sample.numbers} == set(loaded.tracks.tracks) == {"id1", "id3"}


@pytest.mark.parametrize("unknown", [{"ids": ("id1", "id9")}, {"interactions": ("<id1> eats <id2>",)}])
def test_curated_names_that_caption_does_not_know_are_an_error(work: Path, unknown: dict[str, Any]) -> None:
    case = make_case(Folder(str(work / "work")), 41, frames=5)
    with pytest.raises(ValueError, match="curate names an ID or an interaction that caption does not know"):
        build_entry(case.plus(case.of(Curated).model_copy(update=unknown)), "0" * 16, FINGERPRINTS)


def test_first_frame_map_has_fixed_colours_and_small_things_on_top(built: Folder, cases: list[Case]) -> None:
    raw = next(read_raw(built, built.names()[3]))
    case = next(c for c in cases if c.clip.clip_id == raw.key)
    with Image.open(io.BytesIO(raw.files["idmap.png"])) as image:
        assert image.mode == "P"
        indices, rgb = np.array(image), np.array(image.convert("RGB"))
    masks = [decode_mask(t.masks[0], *indices.shape) for t in case.of(Tracked).tracks]
    assert masks[1].sum() < masks[0].sum() and (masks[0] & masks[1]).any()
    assert (indices[masks[1]] == 2).all()
    assert (rgb[masks[1]] == colour("id2")).all()
    assert (indices[~np.any(masks, axis=0)] == 0).all()


def test_two_builds_are_the_same_bytes(work: Path, built: Folder, cases: list[Case], tmp_path: Path) -> None:
    other = Folder(str(tmp_path / "again"))
    build(work, other, cases[::-1])
    assert contents(other) == contents(built)


def test_nothing_new_touches_nothing(work: Path, cases: list[Case], tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, cases[:4])
    before = {n: (tmp_path / "d" / n).stat().st_mtime_ns for n in dest.names()}
    summary = build(work, dest, cases[:4])
    assert (summary.added, summary.new_shards) == (0, ())
    assert {n: (tmp_path / "d" / n).stat().st_mtime_ns for n in dest.names()} == before


def test_growth_adds_shards_and_rewrites_none(work: Path, cases: list[Case], tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, cases[:5])
    before = contents(dest)
    summary = build(work, dest, cases)
    after = contents(dest)
    old = {n for n in before if n.endswith(".tar")}
    assert summary.added == 7 and set(summary.new_shards) == {n for n in after if n.endswith(".tar")} - old
    assert all(after[n] == before[n] for n in old)
    for split in ("train", "val"):
        names = sorted(n for n in after if n.startswith(split))
        assert names == [f"{split}-{number:06d}.tar" for number in range(len(names))]
    rows = decode_index(after["index.parquet"])
    assert len({r.key for r in rows}) == len(rows) == 12
    assert sorted(s.sample.clip_id for s in stream(dest)) == sorted(c.clip.clip_id for c in cases)


class Broken(Exception):
    pass


class Failing:
    """A stream that breaks at the n-th write of the whole run; a part of that write reaches the disk."""

    def __init__(self, stream: IO[bytes], left: list[int]) -> None:
        self.stream, self.left = stream, left

    def write(self, data: bytes) -> int:
        self.left[0] -= 1
        if self.left[0] < 0:
            self.stream.write(data[: len(data) // 2])
            self.stream.flush()
            raise Broken
        return self.stream.write(data)


def breaking(folder: Folder, left: list[int]) -> None:
    create = folder.create

    @contextlib.contextmanager
    def broken(name: str) -> Iterator[Failing]:
        with create(name) as stream:
            yield Failing(stream, left)

    folder.create = broken  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("grown", [False, True])
def test_broken_at_every_write_then_resumed(work: Path, cases: list[Case], tmp_path: Path, grown: bool) -> None:
    """No account of anything unfinished ever appears, and the next run ends in the same bytes."""
    some = cases[:3]
    whole = Folder(str(tmp_path / "whole"))
    if grown:
        build(work, whole, some[:1])
    build(work, whole, some)
    wanted = contents(whole)
    for n in itertools.count():
        dest = Folder(str(tmp_path / f"d{n}"))
        if grown:
            build(work, dest, some[:1])
        listed = read_dataset(dest)
        torn = Folder(dest.root)
        breaking(torn, [n])
        try:
            build(work, torn, some)
        except Broken:
            assert read_dataset(dest) == listed
            # What kill -9 leaves besides: a temporary file.
            dest.write(".tmp-0123456789ab-train-000000.tar", b"half")
        else:
            break
        build(work, dest, some)
        assert contents(dest) == wanted
    assert n > 30


def test_shards_no_run_finished_are_replaced(work: Path, cases: list[Case], tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    dest.write("train-000000.tar", b"torn")
    dest.write("train-000777.tar", b"left over")
    dest.write("notes.txt", b"not ours")
    build(work, dest, cases[:4])
    assert "train-000777.tar" not in dest.names()
    assert dest.read("notes.txt") == b"not ours"
    assert len(list(stream(dest))) == 4


def test_shards_are_cut_by_samples_and_by_bytes(work: Path, cases: list[Case], tmp_path: Path) -> None:
    one = Folder(str(tmp_path / "one"))
    assert build(work, one, cases, ShardSettings(max_samples=5, val_share=0)).counts.shards == 3
    big = make_case(Folder(str(work / "work")), 77, frames=5)
    mp4 = np.random.default_rng(0).bytes(700_000)
    clip = big.clip.model_copy(update={"media_digest": hashlib.sha256(mp4).hexdigest(), "path": "big.mp4"})
    Folder(str(work / "work")).write("big.mp4", mp4)
    twins = [replace(big, clip=clip.model_copy(update={"clip_id": f"{k:016x}"})) for k in range(3)]
    two = Folder(str(tmp_path / "two"))
    summary = build(work, two, twins, ShardSettings(max_mb=1, val_share=0))
    assert summary.counts.shards == 3
    account = read_dataset(two)
    assert account and [s.samples for s in account.shards] == [1, 1, 1]


@pytest.mark.parametrize(("name", "bad"), [("val_share", -0.1), ("val_share", 1.1), ("max_samples", 0), ("max_mb", 0)])
def test_settings_that_make_no_sense_are_errors(name: str, bad: float) -> None:
    with pytest.raises(ValidationError, match=name):
        ShardSettings(**{name: bad})  # type: ignore[arg-type]


def test_an_empty_dataset_is_a_dataset(tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    summary = build(tmp_path, dest, [])
    assert summary.counts.samples == 0
    assert dest.names() == ["README.md", "dataset.json", "index.parquet"]
    assert list(stream(dest)) == []


def test_other_settings_or_fingerprints_fail_closed(work: Path, cases: list[Case], tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, cases[:2])
    with pytest.raises(UserError, match="other settings"):
        build(work, dest, cases[:2], ShardSettings(max_samples=4))
    with pytest.raises(UserError, match="other fingerprints"):
        write_dataset([], {}.__getitem__, kin_of([]), Folder(str(work / "work")), dest, SETTINGS, {"ingest": "0"})


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("dataset.json", b'{"schema_version": 1', "dataset.json is damaged"),
        ("index.parquet", b"PAR1 and no footer", "index.parquet is damaged"),
        ("index.parquet", None, "index.parquet is gone; .*remove that folder and build again"),
        ("train-000000.tar", None, "train-000000.tar is gone; "),
    ],
)
def test_a_damaged_dataset_is_not_built_upon(
    work: Path, cases: list[Case], tmp_path: Path, name: str, damage: bytes | None, told: str
) -> None:
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, cases[:2])
    if damage is None:
        dest.remove(name)
    else:
        dest.write(name, damage)
    with pytest.raises(UserError, match=told):
        build(work, dest, cases)


# webdataset leaves shards to the garbage collector to close.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_plain_webdataset_reads_it(built: Folder, cases: list[Case]) -> None:
    shards = [built.path(n) for n in built.names() if n.endswith(".tar")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert sorted(s["__key__"] for s in samples) == sorted(c.clip.clip_id for c in cases)
    for s in samples:
        sample, tracks = Sample.model_validate_json(s["json"]), TrackFile.model_validate_json(s["tracks.json"])
        assert s["txt"].decode() == sample.caption
        assert {len(m) for m in tracks.tracks.values()} == {sample.frames}
        assert s["mp4"][4:8] == b"ftyp" and s["idmap.png"][:4] == b"\x89PNG"
    decoded, *_ = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    assert decoded["tracks.json"]["size"] == [96, 144]
    assert decoded["idmap.png"].size == (144, 96)
    gc.collect()


@pytest.fixture(scope="module")
def uneven(work: Path, cases: list[Case]) -> tuple[Folder, list[Case]]:
    """The first five samples have two IDs and no licence, those after them more: what column guessing trips over."""
    store = Folder(str(work / "work"))
    plain = [make_case(store, 200 + k, things=1, frames=5, license=None) for k in range(6)]
    rich = [c for c in cases if len(c.of(Captioned).instances) > 2]
    renamed = [
        replace(c, clip=c.clip.model_copy(update={"clip_id": f"{k:016x}"})) for k, c in enumerate([*plain, *rich])
    ]
    folder, _ = make_dataset(work, renamed, ShardSettings(max_samples=9, val_share=0.3), "uneven")
    return folder, renamed


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return pytest.importorskip("datasets")


# datasets and what it imports warn of their own deprecations and open files.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_faces_webdataset_builder_reads_it(
    uneven: tuple[Folder, list[Case]], datasets: Any, tmp_path: Path, streaming: bool
) -> None:
    folder, cases = uneven
    for split, files in (("train", "train-*.tar"), ("val", "val-*.tar")):
        data = datasets.load_dataset(
            "webdataset",
            data_files={split: folder.path(files)},
            split=split,
            cache_dir=str(tmp_path / "cache"),
            streaming=streaming,
        ).cast_column("mp4", datasets.Video(decode=False))
        rows = {row["__key__"]: row for row in data}
        by_key = {c.clip.clip_id: c for c in cases if split_of(c.clip.source.source_id, 0.3) == split}
        assert rows.keys() == by_key.keys()
        for key, row in rows.items():
            captioned = by_key[key].of(Captioned)
            assert captioned and row["txt"] == captioned.caption
            assert row["json"]["clip_id"] == key
            assert len(row["json"]["interactions"]) == len(captioned.interactions)
            assert row["idmap.png"].size == (144, 96)
            assert hashlib.sha256(row["mp4"]["bytes"]).hexdigest() == by_key[key].clip.media_digest
    gc.collect()


@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_face_datasets_reads_the_folder_whole(
    uneven: tuple[Folder, list[Case]], datasets: Any, tmp_path: Path, streaming: bool
) -> None:
    folder, cases = uneven
    data = datasets.load_dataset(folder.root, cache_dir=str(tmp_path / "cache"), streaming=streaming)
    rows = {
        row["__key__"]: row for part in data.values() for row in part.cast_column("mp4", datasets.Video(decode=False))
    }
    assert set(data) == {"train", "validation"}
    assert rows.keys() == {c.clip.clip_id for c in cases}
    for case in cases:
        row = rows[case.clip.clip_id]
        assert {k: [m and m["counts"] for m in v] for k, v in row["tracks.json"]["tracks"].items()} == {
            t.id: list(t.masks) for t in case.of(Tracked).tracks
        }
        assert Sample.model_validate(row["json"]).provenance.license == case.clip.source.license
    gc.collect()


def test_any_parquet_reader_can_query_the_index(built: Folder) -> None:
    table = pq.read_table(built.path("index.parquet"))
    assert set(itertools.chain(*table["verbs"].to_pylist())) <= set(VERBS)
    assert json.loads(built.read("dataset.json"))["counts"]["samples"] == table.num_rows
