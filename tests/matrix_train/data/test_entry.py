"""Every kind of bad entry, made by damaging a real shard, is named with its reason; nothing else ever comes out."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from matrix_train.data import BadReason, GaveUp, MatrixDataset, TrainSample
from matrix_train.data.entry import Bad, parse_entry, read_entry
from matrix_train.data.index import Source
from schemas import Sample
from schemas.dataset import SUFFIXES
from tests.builders import encode_mp4
from tests.matrix_train.data.shards import (
    FRAMES,
    HEIGHT,
    WIDTH,
    Files,
    config,
    edit_json,
    rows_of,
    tamper,
    write_index,
)


def image(files: Files, change: Any = lambda picture: picture) -> Files:
    """The ID map written again after `change`."""
    buffer = io.BytesIO()
    change(Image.open(io.BytesIO(files["idmap.png"]))).save(buffer, format="PNG")
    return {**files, "idmap.png": buffer.getvalue()}


def repainted(picture: Image.Image) -> Image.Image:
    picture.putpalette([7, 7, 7] * 99)
    return picture


def spans(role: str, move: Any) -> Any:
    """Sample JSON in which the first interaction's first span of a role is (start, end) → move(start, end)."""

    def edit(data: dict[str, Any]) -> None:
        span = data["interactions"][0]["spans"][role][0]
        span["start"], span["end"] = move(span["start"], span["end"])

    return lambda files: edit_json(files, "json", edit)


def track(edit: Any) -> Any:
    """tracks.json in which `edit` had id1's list of masks."""
    return lambda files: edit_json(files, "tracks.json", lambda data: edit(data["tracks"]["id1"]))


def swapped(files: Files) -> Files:
    def edit(data: dict[str, Any]) -> None:
        tracks = data["tracks"]
        tracks["id1"], tracks["id2"] = tracks["id2"], tracks["id1"]

    return edit_json(files, "tracks.json", edit)


def retold(files: Files) -> Files:
    """Another caption, in .txt and .json alike."""
    retitled = edit_json(files, "json", lambda data: data.update(caption=data["caption"] + " Indeed."))
    return {**retitled, "txt": json.loads(retitled["json"])["caption"].encode()}


def change_counts(mask: dict[str, Any], change: Any) -> None:
    mask["counts"] = change(mask["counts"])


CASES: dict[str, tuple[Any, str, str]] = {
    "txt is no utf-8": (lambda f: {**f, "txt": b"\xff\xfe"}, "caption_differs", "not the caption"),
    "other caption": (lambda f: {**f, "txt": f["txt"] + b" "}, "caption_differs", "not the caption"),
    "both captions changed": (retold, "index_differs", "caption not as in the index"),
    "another clip's json": (
        lambda f: edit_json(f, "json", lambda d: d.update(clip_id="0" * 16)), "index_differs", "key not as",
    ),
    "later schema": (lambda f: edit_json(f, "json", lambda d: d.update(schema_version=9)), "other_schema", "version 9"),
    "json cut": (lambda f: {**f, "json": f["json"][:-40]}, "bad_json", ".json"),
    "json of a list": (lambda f: {**f, "json": b"[]"}, "bad_json", ".json"),
    "json of no text": (lambda f: {**f, "json": b"\xff"}, "bad_json", ".json"),
    "json nested too deep": (lambda f: {**f, "json": b"[" * 100_000}, "bad_json", ".json"),
    "unknown field": (lambda f: edit_json(f, "json", lambda d: d.update(mood="good")), "bad_json", "mood"),
    "unknown ID": (
        lambda f: edit_json(f, "json", lambda d: d["interactions"][0].update(object="id9")), "bad_json", "no instance",
    ),
    "tracks cut": (lambda f: {**f, "tracks.json": f["tracks.json"][:-9]}, "bad_json", ".tracks.json"),
    "span beyond": (spans("object", lambda s, e: (s, e + 400)), "bad_spans", "beyond the caption"),
    "span empty": (spans("verb", lambda s, e: (s, s)), "bad_spans", "at least one"),
    "span slipped": (spans("verb", lambda s, e: (s + 2, e + 2)), "bad_spans", "the verb's span"),
    "span short": (spans("subject", lambda s, e: (s, e - 1)), "bad_spans", "cuts a word"),
    "span blank": (spans("subject", lambda s, e: (e, e + 1)), "bad_spans", "blank"),
    "no track": (lambda f: edit_json(f, "tracks.json", lambda d: d["tracks"].pop("id2")), "missing_mask", "id2 has no"),
    "a mask missing": (track(lambda masks: masks.pop()), "missing_mask", f"id1 has {FRAMES - 1} masks"),
    "a mask too many": (track(lambda masks: masks.append(None)), "missing_mask", f"{FRAMES + 1} masks"),
    "run lengths cut": (track(lambda m: change_counts(m[3], lambda c: c[:-3])), "bad_mask", "id1, frame 3"),
    "run lengths changed": (
        track(lambda m: change_counts(m[3], lambda c: c[:4] + chr(ord(c[4]) ^ 1) + c[5:])), "bad_mask", "id1, frame 3",
    ),
    "a mask of another size": (track(lambda m: m[2].update(size=[WIDTH, HEIGHT])), "bad_mask", "id1, frame 2"),
    "tracks of another size": (
        lambda f: edit_json(f, "tracks.json", lambda d: d.update(size=[48, 72])), "bad_mask", "(48, 72)",
    ),
    "tracks changed places": (swapped, "bad_id_map", "does not show"),
    "map cut": (lambda f: {**f, "idmap.png": f["idmap.png"][:-60]}, "bad_id_map", "not a readable PNG"),
    "map empty": (lambda f: {**f, "idmap.png": b""}, "bad_id_map", "not a readable PNG"),
    "map of another format": (lambda f: {**f, "idmap.png": b"GIF89a" + bytes(50)}, "bad_id_map", "not a readable PNG"),
    "map of another size": (lambda f: image(f, lambda p: p.resize((WIDTH * 99, HEIGHT))), "bad_id_map", "x 14256, not"),
    "map in grey": (lambda f: image(f, lambda p: p.convert("L")), "bad_id_map", "mode L"),
    "map in other colours": (lambda f: image(f, repainted), "bad_id_map", "other colours"),
    "map in other colours, RGB": (
        lambda f: image(f, lambda p: repainted(p).convert("RGB")), "bad_id_map", "other colours",
    ),
    "map of nobody": (lambda f: image(f, lambda p: p.point(lambda _: 0)), "bad_id_map", "does not show"),
    "map mirrored": (
        lambda f: image(f, lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), "bad_id_map", "does not show",
    ),
    "mp4 cut": (lambda f: {**f, "mp4": f["mp4"][:-100]}, "broken_video", "SHA-256"),
    "mp4 with one bit changed": (
        lambda f: {**f, "mp4": f["mp4"][:999] + bytes([f["mp4"][999] ^ 1]) + f["mp4"][1000:]},
        "broken_video",
        "SHA-256",
    ),
    "mp4 of another clip": (
        lambda f: {**f, "mp4": encode_mp4(np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8))}, "broken_video", "SHA-256",
    ),
    **{f"no {s}": (lambda f, s=s: {k: v for k, v in f.items() if k != s}, "missing_file", s) for s in SUFFIXES},
}  # fmt: skip
"""What is done to the entry's files, the reason it must get, and words of the detail."""


@dataclass(frozen=True)
class Outcome:
    reason: str
    detail: str


def outcome(folder: Path, key: str, **changes: Any) -> Outcome:
    """What the dataset says of an entry, asked as a training run asks: by the place of its key in the order."""
    data = MatrixDataset(config(folder, max_bad_share=0, **changes), "train", None, seed=0)
    ref = next(r for p in range(len(data)) for r in data.plan.batch(p) if data.plan.order(0)[r.place] == key)
    result = data[ref]
    assert isinstance(result, GaveUp), "the entry was taken"
    (bad,) = result.bad
    assert (bad.key, bad.shard) == (key, data.rows[key].shard)
    assert "\n" not in str(bad)
    return Outcome(bad.reason, bad.detail)


@pytest.fixture
def key(dataset: Path) -> str:
    """A sample of the train split that is not the last of its shard."""
    rows = [row for row in rows_of(dataset) if row.split == "train"]
    return min((row for row in rows), key=lambda row: (row.shard, row.offset)).key


@pytest.mark.parametrize("name", list(CASES))
def test_a_damaged_file_is_named(damaged, key, tokenizer, name) -> None:
    change, reason, words = CASES[name]
    tamper(damaged, key, change)
    found = outcome(damaged, key)
    assert found.reason == reason
    assert words in found.detail


def silent_mp4() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return buffer.getvalue()


BLACK = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    ("mp4", "words"),
    [
        (encode_mp4(BLACK[:-1]), f"{FRAMES - 1} frames, not {FRAMES}"),
        (encode_mp4(BLACK[:, :, :-16]), f"{HEIGHT} x {WIDTH - 16}"),
        (b"not a video at all", "frame 0"),
        (encode_mp4(BLACK)[:-200], "frame"),
        (silent_mp4(), "no video stream"),
    ],
    ids=["short", "narrow", "no mp4", "cut", "sound only"],
)
def test_a_video_that_was_broken_when_it_was_put_on_record(damaged, key, tokenizer, mp4, words) -> None:
    """Its digest is right; only decoding tells."""
    digest = hashlib.sha256(mp4).hexdigest()

    def change(files: Files) -> Files:
        edited = edit_json(files, "json", lambda d: d["provenance"].update(media_digest=digest))
        return {**edited, "mp4": mp4}

    tamper(damaged, key, change, media_digest=digest)
    data = MatrixDataset(config(damaged, max_bad_share=0), "train", tokenizer, seed=0)
    ref = next(r for p in range(len(data)) for r in data.plan.batch(p) if data.plan.order(0)[r.place] == key)
    result = data[ref]
    assert isinstance(result, GaveUp)
    assert result.bad[0].reason == "broken_video"
    assert words in result.bad[0].detail


def test_a_shard_that_is_gone_or_cut_short(damaged, key) -> None:
    row = next(row for row in rows_of(damaged) if row.key == key)
    shard = damaged / row.shard
    data = shard.read_bytes()
    shard.write_bytes(data[: row.offset + row.bytes - 1])
    assert outcome(damaged, key) == Outcome("torn", "the shard ends 1 bytes before the entry does")
    shard.unlink()
    assert outcome(damaged, key).reason == "missing_shard"


def test_bytes_that_are_no_entry(damaged, key) -> None:
    rows = rows_of(damaged)
    row = next(row for row in rows if row.key == key)
    shard = damaged / row.shard
    data = bytearray(shard.read_bytes())
    data[row.offset : row.offset + 512] = b"\x01" * 512
    shard.write_bytes(data)
    assert outcome(damaged, key).reason == "torn"
    other = next(r for r in rows if r.shard == row.shard and r.key != key)
    moved = row.model_copy(update={"offset": other.offset, "bytes": other.bytes})
    write_index(damaged, [moved if r.key == key else r for r in rows])
    assert outcome(damaged, key) == Outcome("torn", f"the bytes hold {other.key} instead of {key}")


def test_a_clip_with_too_few_frames(dataset, key) -> None:
    assert outcome(dataset, key, frames=13) == Outcome("too_short", "9 frames, 13 are needed for 13")
    assert outcome(dataset, key, frames=5, frame_step=3).detail == "9 frames, 13 are needed for 5 at frame_step 3"


def test_every_reason_is_met_here() -> None:
    met = {reason for _, reason, _ in CASES.values()}
    assert met | {"torn", "missing_shard", "too_short", "bad_label"} == set(get_args(BadReason))


def test_an_rgb_map_is_read_as_the_palette_one(damaged, key) -> None:
    row = next(row for row in rows_of(damaged) if row.key == key)
    want = read_entry(Source(str(damaged)), row).id_map
    tamper(damaged, key, lambda f: image(f, lambda p: p.convert("RGB")))
    row = next(row for row in rows_of(damaged) if row.key == key)
    assert np.array_equal(read_entry(Source(str(damaged)), row).id_map, want)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_bytes_change_no_wrong_mask_comes_out(dataset, data) -> None:
    """Any damage to an entry's bytes ends in a reason, or left masks, ID map, video and spans as they were."""
    row = data.draw(st.sampled_from([r for r in rows_of(dataset) if r.split == "train"][:3]))
    whole = Source(str(dataset)).read(row.shard, row.offset, row.offset + row.bytes)
    want = parse_entry(whole, row)
    # Most bytes are the video's, whose digest is checked: rather damage what comes after it.
    start = whole.index(f"{row.key}.txt".encode())
    at = data.draw(st.integers(start, len(whole) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=3))
    broken = whole[:at] + damage + whole[at + len(damage) :]
    try:
        got = parse_entry(broken[: len(whole)], row)
    except Bad as problem:
        assert problem.reason in get_args(BadReason)
        return
    assert got.mp4 == want.mp4
    assert np.array_equal(got.id_map, want.id_map)
    assert {k: [None if r is None else r.tolist() for r in v] for k, v in got.masks.runs.items()} == {
        k: [None if r is None else r.tolist() for r in v] for k, v in want.masks.runs.items()
    }
    assert isinstance(got.sample, Sample)


def test_a_good_entry_is_taken(dataset, key, tokenizer) -> None:
    data = MatrixDataset(config(dataset), "train", tokenizer, seed=0)
    assert isinstance(data[data.plan.batch(0)[0]], TrainSample)
