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
from tasks.dataset.check import verify
from tasks.dataset.reader import decode_index, read_dataset, read_raw, stream
from tasks.dataset.split import split_of
from tasks.media.clips import decode_mask
from tasks.outcome import Case
from tasks.shard.account import spoilt
from tasks.shard.stage import ShardSettings
from tasks.store.folder import TEMPORARY, Folder
from tests.builders import FINGERPRINTS, VERBS, Sharding, make_case, make_dataset, unreviewed

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


def build(work: Path, dest: Folder, cases: list[Case], settings: ShardSettings = SETTINGS) -> int:
    """Returns the number of new samples."""
    return len(Sharding(Folder(str(work / "work")), dest, settings).run(cases))


@pytest.fixture(scope="module")
def built(work: Path, cases: list[Case]) -> Folder:
    return make_dataset(work, cases)


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
    assert list(by_shard) == sorted(by_shard) and len(by_shard) > 3
    assert sorted([*by_shard, "README.md", "dataset.json", "index.parquet"]) == built.names()
    for shard in account.shards:
        data = built.read(shard.name)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (shard.sha256, shard.bytes)
        assert shard.name == f"{shard.split}-00000-{shard.sha256[:16]}.tar"
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
    case = unreviewed(case.plus(keep))
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
        unreviewed(case.plus(case.of(Curated).model_copy(update=unknown)))


def test_first_frame_map_has_fixed_colours_and_small_things_on_top(built: Folder, cases: list[Case]) -> None:
    raw = next(read_raw(built, next(n for n in built.names() if n.endswith(".tar"))))
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
    account = dest.read("dataset.json")
    assert build(work, dest, cases[:4]) == 0
    shards = [n for n in before if n.endswith(".tar")]
    assert {n: (tmp_path / "d" / n).stat().st_mtime_ns for n in shards} == {n: before[n] for n in shards}
    assert dest.read("dataset.json") == account and before.keys() == set(dest.names())


def test_growth_adds_shards_and_rewrites_none(work: Path, cases: list[Case], tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, cases[:5])
    before = contents(dest)
    assert build(work, dest, cases) == 7
    after = contents(dest)
    old = {n for n in before if n.endswith(".tar")}
    assert all(after[n] == before[n] for n in old)
    account = read_dataset(dest)
    assert account and {s.name for s in account.shards} == {n for n in after if n.endswith(".tar")} > old
    rows = decode_index(after["index.parquet"])
    assert len({r.key for r in rows}) == len(rows) == 12
    assert sorted(s.sample.clip_id for s in stream(dest)) == sorted(c.clip.clip_id for c in cases)


class Broken(Exception):
    pass


class Failing:
    """A stream that breaks at the n-th write of the whole run; a part of that write reaches the disk."""

    closed = False

    def __init__(self, stream: IO[bytes], left: list[int]) -> None:
        self.stream, self.left = stream, left
        self.tell, self.flush = stream.tell, stream.flush

    def write(self, data: bytes) -> int:
        self.left[0] -= 1
        if self.left[0] < 0:
            self.stream.write(data[: len(data) // 2])
            self.stream.flush()
            raise Broken
        return self.stream.write(data)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many writes go well yet, whichever file they are of."""
    create, left = Folder.create, [1_000_000]

    @contextlib.contextmanager
    def broken(folder: Folder, name: Any, mark: str = "") -> Iterator[Any]:
        with create(folder, name, mark) as stream:
            yield Failing(stream, left)

    monkeypatch.setattr(Folder, "create", broken)
    yield left


@pytest.mark.parametrize("grown", [False, True])
def test_broken_at_every_write_then_resumed(
    work: Path, cases: list[Case], tmp_path: Path, grown: bool, breaking: list[int]
) -> None:
    """No account of anything unfinished ever appears, and the next run ends in the same bytes."""
    some = cases[:2]
    whole = Folder(str(tmp_path / "whole"))
    if grown:
        build(work, whole, some[:1])
    build(work, whole, some)
    wanted = contents(whole)
    for n in itertools.count(grown, 2):
        dest = Folder(str(tmp_path / f"d{n}"))
        breaking[0] = 1_000_000
        if grown:
            build(work, dest, some[:1])
        listed = read_dataset(dest)
        breaking[0] = n
        try:
            build(work, dest, some)
        except Broken:
            assert read_dataset(dest) == listed
            breaking[0] = 1_000_000
            # What kill -9 leaves besides: temporary files, and a shard whose rows are not on record yet.
            if len(Sharding(dest, dest, SETTINGS).store()) < len(some):
                dest.write(f"{TEMPORARY}0123456789ab-train-00000", b"half")
                dest.write(f"train-00000-{'0' * 16}.tar", b"whole, but nobody knows")
            else:
                dest.write(f"{TEMPORARY}0123456789ab-index.parquet", b"half")
        else:
            break
        build(work, dest, some)
        assert contents(dest) == wanted
    assert n > 20


def test_what_other_chunks_and_people_put_there_is_left_alone(work: Path, cases: list[Case], tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    others = [f"train-00001-{'0' * 16}.tar", f"{TEMPORARY}0123456789ab-val-00001", "notes.txt"]
    for name in others:
        dest.write(name, b"not of this chunk")
    dest.write(f"val-00000-{'0' * 16}.tar", b"left over")
    build(work, dest, cases[:4])
    assert [n for n in dest.names() if n in others or dest.read(n) == b"left over"] == sorted(others)
    assert len(list(stream(dest))) == 4


def test_chunks_make_one_dataset_and_none_touches_the_others_shards(
    work: Path, cases: list[Case], tmp_path: Path
) -> None:
    dest = Folder(str(tmp_path / "d"))
    first, second = (Sharding(Folder(str(work / "work")), dest, SETTINGS, name) for name in ("00000", "00001"))
    first.run(cases[:5])
    before = contents(dest)
    second.run(cases[5:])
    after = contents(dest)
    assert all(after[n] == data for n, data in before.items() if n.endswith(".tar"))
    account = read_dataset(dest)
    assert (
        account
        and account.counts.samples == 12
        and {s.name for s in account.shards} == {n for n in after if n.endswith(".tar")}
    )
    assert {s.name.split("-")[1] for s in account.shards} == {"00000", "00001"}
    assert verify(dest) == []
    other = Folder(str(tmp_path / "other"))
    for name, some in (("00001", cases[5:]), ("00000", cases[:5])):
        Sharding(Folder(str(work / "work")), other, SETTINGS, name).run(some)
    assert contents(other) == after, "whoever is first"


def test_shards_are_cut_by_samples_and_by_bytes(work: Path, cases: list[Case], tmp_path: Path) -> None:
    one = Folder(str(tmp_path / "one"))
    build(work, one, cases, ShardSettings(max_samples=5, val_share=0))
    account = read_dataset(one)
    assert account and account.counts.shards == 3 and sorted(s.samples for s in account.shards) == [2, 5, 5]
    big = make_case(Folder(str(work / "work")), 77, frames=5)
    mp4 = np.random.default_rng(0).bytes(700_000)
    clip = big.clip.model_copy(update={"media_digest": hashlib.sha256(mp4).hexdigest(), "path": "big.mp4"})
    Folder(str(work / "work")).write("big.mp4", mp4)
    twins = [replace(big, clip=clip.model_copy(update={"clip_id": f"{k:016x}"})) for k in range(3)]
    two = Folder(str(tmp_path / "two"))
    build(work, two, twins, ShardSettings(max_mb=1, val_share=0))
    account = read_dataset(two)
    assert account and [s.samples for s in account.shards] == [1, 1, 1]


@pytest.mark.parametrize(("name", "bad"), [("val_share", -0.1), ("val_share", 1.1), ("max_samples", 0), ("max_mb", 0)])
def test_settings_that_make_no_sense_are_errors(name: str, bad: float) -> None:
    with pytest.raises(ValidationError, match=name):
        ShardSettings(**{name: bad})  # type: ignore[arg-type]


def test_no_clip_makes_no_dataset(tmp_path: Path) -> None:
    dest = Folder(str(tmp_path / "d"))
    assert build(tmp_path, dest, []) == 0 and dest.names() == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("dataset.json", b'{"schema_version": 1'),
        ("dataset.json", None),
        ("index.parquet", b"PAR1 and no footer"),
        ("index.parquet", None),
        ("README.md", None),
        (".tar", None),
    ],
)
def test_what_is_gone_or_damaged_beside_the_record_is_made_again_to_the_same_bytes(
    work: Path, cases: list[Case], tmp_path: Path, name: str, damage: bytes | None
) -> None:
    """A shard that is there is not looked into: damage in it is for `verify` to find, which hashes it."""
    dest = Folder(str(tmp_path / "d"))
    build(work, dest, cases[:4])
    wanted = contents(dest)
    name = next(n for n in wanted if n.endswith(name))
    if damage is None:
        dest.remove(name)
    else:
        dest.write(name, damage)
    sharding = Sharding(Folder(str(work / "work")), dest, SETTINGS)
    assert spoilt(sharding) is not name.endswith(".tar")
    assert build(work, dest, cases[:4]) == rows_of(wanted, name)
    assert not spoilt(sharding)
    assert contents(dest) == wanted


def rows_of(dataset: dict[str, bytes], shard: str) -> int:
    return sum(row.shard == shard for row in decode_index(dataset["index.parquet"]))


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
    return make_dataset(work, renamed, ShardSettings(max_samples=9, val_share=0.3), "uneven"), renamed


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
