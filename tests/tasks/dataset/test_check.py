"""Every fault that is planted is found, named in one line, and never raises."""

import hashlib
import io
import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.dataset import DatasetFile, IndexRow
from schemas.idmap import decode_id_map, encode_id_map
from tasks.dataset.check import verify
from tasks.dataset.reader import decode_index, read_dataset, read_raw
from tasks.dataset.tar import TarWriter
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import encode_index, encode_mp4, make_case, make_dataset

UNLISTED = f"train-00000-{'0' * 16}.tar"
"""A name as shards have, before all others."""

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify")
    store = Folder(str(root / "work"))
    cases = [make_case(store, seed, things=1 + seed % 2, frames=5) for seed in range(4)]
    make_dataset(root, cases, ShardSettings(max_samples=2, val_share=0))
    return root / "dataset"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Folder:
    shutil.copytree(original, tmp_path / "d")
    return Folder(str(tmp_path / "d"))


@pytest.fixture
def shard(copy: Folder) -> str:
    """The name of the first."""
    return first_shard(copy)


def told(folder: Folder, deep: bool = True) -> list[str]:
    lines = [str(p) for p in verify(folder, deep)]
    assert all("\n" not in line and line.isprintable() for line in lines)
    return lines


def first_shard(folder: Folder) -> str:
    return account_of(folder).shards[0].name


def account_of(folder: Folder) -> DatasetFile:
    account = read_dataset(folder)
    assert account is not None
    return account


def tamper(folder: Folder, change: Callable[[Files], None]) -> None:
    """Change the first entry of the first shard, and make sizes, hashes and offsets right again for the new bytes."""
    account, rows = account_of(folder), {r.key: r for r in decode_index(folder.read("index.parquet"))}
    shard = first_shard(folder)
    raws = list(read_raw(folder, shard))
    change(raws[0].files)
    with folder.create(shard) as stream, TarWriter(stream) as tar:
        for raw in raws:
            offset = tar.size
            for suffix, data in raw.files.items():
                tar.add(f"{raw.key}.{suffix}", data)
            rows[raw.key] = rows[raw.key].model_copy(update={"offset": offset, "bytes": tar.size - offset})
    shards = tuple(
        s.model_copy(update={"bytes": tar.size, "sha256": tar.sha256}) if s.name == shard else s for s in account.shards
    )
    republish(folder, list(rows.values()), account.model_copy(update={"shards": shards}))


def republish(folder: Folder, rows: list[IndexRow], account: DatasetFile) -> None:
    index = encode_index(rows)
    folder.write("index.parquet", index)
    counts = account.counts.model_copy(update={"bytes": sum(s.bytes for s in account.shards)})
    account = account.model_copy(update={"index_sha256": hashlib.sha256(index).hexdigest(), "counts": counts})
    folder.write("dataset.json", account.model_dump_json().encode())


def test_a_sound_dataset_has_no_problem(copy: Folder) -> None:
    assert told(copy) == told(copy, deep=False) == []
    tamper(copy, lambda files: None)
    assert told(copy) == []


def edit(suffix: str, change: Callable[[Any], None]) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        data = json.loads(files[suffix])
        change(data)
        files[suffix] = json.dumps(data).encode()

    return apply


def put(suffix: str, data: bytes | Callable[[], bytes]) -> Callable[[Files], None]:
    return lambda files: files.update({suffix: data if isinstance(data, bytes) else data()})


def swap_map(files: Files) -> None:
    indices = decode_id_map(files["idmap.png"], 96, 144)
    files["idmap.png"] = encode_id_map(np.where(indices == 1, 2, indices).astype(np.uint8))


def grey_map() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((96, 144), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A small file that claims 30 000 x 30 000 pixels."""
    png = bytearray(encode_id_map(np.zeros((96, 144), np.uint8)))
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    return bytes(png)


def span(files: Files, role: str, value: list[dict[str, int]]) -> None:
    edit("json", lambda d: d["interactions"][0]["spans"].update({role: value}))(files)


FAULTS: dict[str, tuple[Callable[[Files], None], str]] = {
    "caption": (put("txt", b"another caption"), ".txt is not the caption"),
    "no json": (put("json", b"{"), "does not fit the schema"),
    "not utf-8": (put("json", b"\xff\xfe"), "does not fit the schema"),
    "nested": (put("tracks.json", b"[" * 100_000), "does not fit the schema"),
    "extra key": (edit("json", lambda d: d.update(note="x\n\x1b[31m")), "does not fit the schema"),
    "other clip": (edit("json", lambda d: d.update(clip_id="0" * 16)), "is of clip 0000000000000000"),
    "version": (edit("json", lambda d: d.update(schema_version=9)), "schema version 9"),
    "other index": (edit("json", lambda d: d.update(fps=9.0)), "its row in index.parquet says otherwise"),
    "fingerprint": (edit("json", lambda d: d["provenance"].update(fingerprints=["a=b"])), "other fingerprints"),
    "span out": (lambda f: span(f, "verb", [{"start": 0, "end": 5000}]), "ends beyond the caption"),
    "span cuts": (lambda f: span(f, "verb", [{"start": 3, "end": 4}]), "cuts a word"),
    "span space": (lambda f: span(f, "object", [{"start": 0, "end": 2}]), "with space"),
    "span order": (lambda f: span(f, "verb", [{"start": 2, "end": 5}, {"start": 0, "end": 5}]), "out of order"),
    "sentence": (edit("json", lambda d: d["interactions"][0].update(source_sentence="No.")), "not in the caption"),
    "text": (edit("json", lambda d: d["interactions"][0].update(text="<id8> x <id9>")), "is not about <id1> and <id2>"),
    "track id": (
        edit("tracks.json", lambda d: d["tracks"].update(id9=d["tracks"].pop("id2"))),
        "not name the same IDs",
    ),
    "track length": (edit("tracks.json", lambda d: d["tracks"]["id1"].pop()), "id1 has 4 masks for 5 frames"),
    "track empty": (edit("tracks.json", lambda d: d["tracks"].update(id1=[None] * 5)), "id1 has no mask at all"),
    "track size": (edit("tracks.json", lambda d: d.update(size=[97, 144])), "tracks are 144 x 97"),
    "mask size": (edit("tracks.json", lambda d: d["tracks"]["id1"][0].update(size=[9, 9])), "frame 0: is 9 x 9"),
    "mask cut": (
        edit("tracks.json", lambda d: d["tracks"]["id1"][1].update(counts="4")),
        "id1 at frame 1: run lengths",
    ),
    "mask hostile": (
        edit("tracks.json", lambda d: d["tracks"]["id1"][0].update(counts="o" * 99)),
        "too long|end within",
    ),
    "mp4 other": (put("mp4", lambda: encode_mp4(np.zeros((5, 96, 144, 3), np.uint8))), "not the clip that the .json"),
    "mp4 short": (put("mp4", lambda: encode_mp4(np.zeros((4, 96, 144, 3), np.uint8))), "has 4 frames"),
    "mp4 long": (put("mp4", lambda: encode_mp4(np.zeros((9, 96, 144, 3), np.uint8))), "has 6 or more frames"),
    "mp4 size": (put("mp4", lambda: encode_mp4(np.zeros((5, 64, 64, 3), np.uint8))), ".mp4 is 64 x 64"),
    "mp4 garbage": (put("mp4", b"not a video"), ".mp4 cannot be decoded"),
    "mp4 cut": (lambda f: f.update(mp4=f["mp4"][:-700]), ".mp4 cannot be decoded|frames, the .json says"),
    "map colours": (swap_map, ".idmap.png does not show the first masks"),
    "map no palette": (put("idmap.png", grey_map), "no palette image"),
    "map garbage": (put("idmap.png", b"\x89PNG nothing"), "no readable PNG"),
    "map bomb": (put("idmap.png", bomb), "idmap.png is"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_inside_an_entry(copy: Folder, shard: str, name: str) -> None:
    change, wanted = FAULTS[name]
    tamper(copy, change)
    key = next(read_raw(copy, shard)).key
    lines = told(copy)
    assert any(re.search(wanted, line) and key in line and line.startswith(shard) for line in lines), lines


def test_a_flipped_byte_in_every_file(copy: Folder, shard: str) -> None:
    for name in ("dataset.json", "index.parquet", shard):
        data = bytearray(copy.read(name))
        data[len(data) // 2] ^= 0xFF
        copy.write(name, bytes(data))
        assert any(line.startswith(name) for line in told(copy)), name
        data[len(data) // 2] ^= 0xFF
        copy.write(name, bytes(data))
    assert told(copy) == []


@pytest.mark.parametrize("keep", [0, 100, 512, 700, 5000, -10240, -1])
def test_a_torn_tar(copy: Folder, shard: str, keep: int) -> None:
    copy.write(shard, copy.read(shard)[:keep])
    lines = told(copy)
    assert any(line.startswith(shard) and "bytes, dataset.json says" in line for line in lines)
    assert any(line.startswith(f"{shard}: torn") for line in lines)


@pytest.mark.parametrize("keep", [0, 3, 8, 300, -8, -1])
def test_a_torn_or_footerless_index(copy: Folder, keep: int) -> None:
    copy.write("index.parquet", copy.read("index.parquet")[:keep])
    assert any(line.startswith("index.parquet: index.parquet is damaged") for line in told(copy))


def test_a_shard_of_another_digest_is_told_though_all_in_it_fits(copy: Folder, shard: str) -> None:
    account = account_of(copy)
    shards = tuple(s.model_copy(update={"sha256": "0" * 64}) if s.name == shard else s for s in account.shards)
    copy.write("dataset.json", account.model_copy(update={"shards": shards}).model_dump_json().encode())
    assert told(copy) == [f"{shard}: SHA-256 is not the one in dataset.json"]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda names: [*names[:2], "0" * 16 + ".json", *names[3:]], "000.json stands where"),
        (lambda names: names[:-1], "lacks idmap.png"),
        (lambda names: [names[1], names[0], *names[2:]], "txt stands where"),
    ],
)
def test_files_of_a_shard_that_are_no_whole_entries(
    copy: Folder, shard: str, change: Callable[[list[str]], list[str]], wanted: str
) -> None:
    raws = list(read_raw(copy, shard))
    with copy.create(shard) as stream, TarWriter(stream) as tar:
        names = change([f"{raws[0].key}.{suffix}" for suffix in raws[0].files])
        for name, data in zip(names, raws[0].files.values(), strict=False):
            tar.add(name, data)
    assert any(line.startswith(f"{shard}: torn") and wanted in line for line in told(copy)), told(copy)


def test_a_caption_that_ends_in_a_word_is_sound(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, [make_case(Folder(str(tmp_path / "work")), 1, frames=5, note="at dawn")])
    assert told(folder) == []


def test_files_that_should_not_be_there_or_are_gone(copy: Folder) -> None:
    second = account_of(copy).shards[1].name
    copy.write(".tmp-abc-train-00007", b"half")
    copy.write(UNLISTED, b"unlisted")
    copy.write("notes.txt", b"")
    copy.remove(second)
    lines = told(copy)
    assert any(line.startswith(".tmp-abc") and "temporary" in line for line in lines)
    assert any(line.startswith(UNLISTED) and "does not list" in line for line in lines)
    assert any(line.startswith("notes.txt") for line in lines)
    assert any(line.startswith(second) and "missing" in line for line in lines)
    assert sum("is in no shard" in line for line in lines) == 2
    copy.remove("index.parquet")
    assert any(line == "index.parquet: is missing" for line in told(copy))
    copy.remove("dataset.json")
    assert any(line.startswith("dataset.json: is missing") for line in told(copy))


def test_a_key_in_two_shards(copy: Folder, shard: str) -> None:
    account = account_of(copy)
    copy.write(UNLISTED, copy.read(shard))
    twin = account.shards[0].model_copy(update={"name": UNLISTED})
    republish(
        copy, decode_index(copy.read("index.parquet")), account.model_copy(update={"shards": (*account.shards, twin)})
    )
    assert sum("is in 2 entries" in line for line in told(copy)) == 2


def test_an_account_that_miscounts(copy: Folder) -> None:
    account = account_of(copy)
    rows = decode_index(copy.read("index.parquet"))
    republish(copy, rows, account.model_copy(update={"counts": account.counts.model_copy(update={"frames": 1})}))
    assert told(copy) == ["dataset.json: counts 1 frames, there are 20"]
    republish(copy, rows[1:], account)
    assert any("has no row in index.parquet" in line for line in told(copy))


def test_a_sample_in_the_wrong_split(copy: Folder) -> None:
    account = account_of(copy)
    settings = {**account.settings, "val_share": 1.0}
    republish(copy, decode_index(copy.read("index.parquet")), account.model_copy(update={"settings": settings}))
    assert sum("belongs to the other split" in line for line in told(copy)) == 4


@pytest.mark.parametrize("alike", ["source", "group"])
def test_a_video_or_group_on_both_sides(tmp_path: Path, alike: str) -> None:
    store = Folder(str(tmp_path / "work"))
    cases = [make_case(store, seed, frames=5) for seed in range(4)]
    folder = make_dataset(tmp_path, cases, ShardSettings(max_samples=1, val_share=0))
    account, rows = account_of(folder), decode_index(folder.read("index.parquet"))
    first = account.shards[0]
    shard = first.model_copy(update={"name": UNLISTED.replace("train", "val"), "split": "val"})
    folder.write(shard.name, folder.read(first.name))
    folder.remove(first.name)
    moved = [r.model_copy(update={"shard": shard.name, "split": "val"}) if r.shard == first.name else r for r in rows]
    (held,) = [r for r in moved if r.split == "val"]
    same = {"source": {"source_digest": held.source_digest}, "group": {"group": held.group}}[alike]
    moved = [r if r is held or r.key == rows[-1].key else r.model_copy(update=same) for r in moved]
    counts = account.counts.model_copy(update={"train": 3, "val": 1})
    republish(folder, moved, account.model_copy(update={"shards": (*account.shards[1:], shard), "counts": counts}))
    name = held.source_digest if alike == "source" else held.group
    lines = told(folder)
    assert f"index.parquet: {alike} {name} has samples in train and val" in lines
    assert ("is in the groups" in " ".join(lines)) == (alike == "source")


def test_random_damage_never_raises(original: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for n in range(40):
        shutil.copytree(original, tmp_path / str(n))
        folder = Folder(str(tmp_path / str(n)))
        shards = [shard.name for shard in account_of(folder).shards]
        name = str(rng.choice([*shards, "index.parquet", "dataset.json"]))
        data = bytearray(folder.read(name))
        for _ in range(int(rng.integers(1, 30))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        if n % 3 == 0:
            data = data[: int(rng.integers(len(data)))]
        folder.write(name, bytes(data))
        assert told(folder)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert [str(p) for p in verify(Folder(str(tmp_path / "nowhere")))] == [
        "dataset.json: is missing: an unfinished dataset, or no dataset at all"
    ]
