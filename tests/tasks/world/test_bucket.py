"""Buckets on disk: the same bytes every time, truth for every file, and each broken kind as broken as it says."""

import csv
import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from schemas import Reason
from schemas.truth import VideoTruth
from tasks.errors import UserError
from tasks.media.clips import decode_mask
from tasks.world import load_truth, render_bucket
from tasks.world.encode import FORMATS, Format, write_video
from tasks.world.staging import make_scene

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_bucket(tmp_path_factory.mktemp("world") / "bucket", videos=0, seed=5)


@pytest.fixture(scope="module")
def truth(bucket: Path) -> dict[str, VideoTruth]:
    return {t.video: t for t in load_truth(bucket)}


def frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_in_other_processes(tmp_path: Path) -> None:
    told = []
    for hash_seed in ("1", "2"):
        out = tmp_path / hash_seed
        flags = ["--out", str(out), "--videos", "1", "--seed", "26", "--no-broken"]
        command = [sys.executable, "-m", "tasks.world", *flags]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        told.append(digests(out))
    assert told[0] == told[1]
    assert len(told[0]) == 3


@pytest.mark.parametrize("form", [f for f in FORMATS if "vpx" in f.codec], ids=lambda f: f.codec)
def test_no_encoder_goes_by_the_clock(tmp_path: Path, form: Format) -> None:
    """libvpx may: in four runs over pictures as heavy as these it then writes three or four different files."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 180, 640).astype(np.uint8)[None, :, None]
    pictures = [np.roll(rng.integers(0, 64, (360, 640, 3), dtype=np.uint8) + ramp, 3 * t, 1) for t in range(60)]
    told = set()
    for again in range(4):
        file = tmp_path / f"{again}.{form.suffix}"
        timed = ((p, Fraction(t, 24)) for t, p in enumerate(pictures))
        write_video(file, timed, Fraction(24), form)
        told.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(told) == 1


def test_every_file_has_truth_outside_the_bucket(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    files = {p.name for p in (bucket / "raw").iterdir()}
    assert files | {"extra_missing.mp4"} == set(truth)
    assert "extra_missing.mp4" not in files
    for record in truth.values():
        assert record.expect in {"accept", *(r.value for r in Reason)}


def test_the_sidecar_names_every_video_but_one(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    text = (bucket / "captions.csv").read_bytes().decode("utf-8", errors="surrogateescape")
    rows = {row["video"]: row for row in csv.DictReader(text.splitlines())}
    assert set(truth) - set(rows) == {"extra_no_caption.mp4"}
    for name, row in rows.items():
        if truth[name].expect == "bad_caption":
            with pytest.raises(UnicodeEncodeError):
                row["caption"].encode()
        else:
            assert row["caption"] == truth[name].caption
        assert (row["dataset"], row["license"]) == ("world", "CC0-1.0")


def test_readable_files_hold_what_their_truth_says(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    for record in truth.values():
        if record.expect not in ("accept", "near_duplicate", "duplicate", "no_interaction", "filtered"):
            continue
        count, shape, turned = 0, (0, 0), False
        for frame in frames(bucket / "raw" / record.video):
            count, shape, turned = count + 1, (frame.width, frame.height), frame.rotation % 180 != 0
        assert count == record.frames, record.video
        assert (shape[::-1] if turned else shape) == (record.width, record.height), record.video
        for triplet in record.triplets:
            assert 0 <= triplet.start_frame < triplet.end_frame <= record.frames


def test_unreadable_kinds_are_unreadable(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    assert (bucket / "raw" / "extra_empty.mp4").stat().st_size == 0
    for name in (n for n, t in truth.items() if t.expect == "undecodable"):
        with pytest.raises(av.FFmpegError):
            next(frames(bucket / "raw" / name))
    with av.open(str(bucket / "raw" / "extra_audio.mp4")) as container:
        assert not container.streams.video
        assert container.streams.audio
    assert len(list(frames(bucket / "raw" / "extra_one_frame.mp4"))) == 1


@pytest.mark.parametrize("name", ["extra_cut.mp4", "extra_cut.mkv"])
def test_cut_files_announce_more_than_they_hold(name: str, bucket: Path, truth: dict[str, VideoTruth]) -> None:
    with av.open(str(bucket / "raw" / name)) as container:
        announced = float(container.duration or 0) / av.time_base
        last = 0.0
        try:
            for frame in container.decode(video=0):
                last = frame.time
        except av.FFmpegError:
            pass
    assert announced == pytest.approx(truth[name].frames / truth[name].fps, abs=0.2)
    assert 1.0 < last < 0.8 * announced


def test_repairable_kinds(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    raw = bucket / "raw"
    with av.open(str(raw / "extra_really_mp4.avi")) as container:
        assert "mp4" in container.format.name
    odd = next(frames(raw / "extra_odd_size.mkv"))
    assert (odd.width, odd.height) == (641, 479)
    assert next(frames(raw / "extra_ten_bit.mp4")).format.name == "yuv420p10le"
    times = [f.time for f in frames(raw / "extra_variable_rate.mp4")]
    steps = {round((b - a) * 20) for a, b in itertools.pairwise(times)}
    assert len(steps) >= 3
    assert "extra a <id1> clip, 100%.mp4" in truth


def test_rotation_turns_the_picture_upright(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    """Turned as the header says, the picture is the one that the masks were made on."""
    record = truth["extra_rotated.mp4"]
    frame = next(frames(bucket / "raw" / record.video))
    assert frame.rotation == -90  # PyAV counts counter-clockwise: turn the frame by 90° clockwise
    assert (frame.height, frame.width) == (record.width, record.height)
    upright = frame.to_ndarray(format="rgb24").transpose(1, 0, 2)[:, ::-1].astype(float)
    again, _ = next(make_scene(record.seed, "plain", size=(640, 360), rate=Fraction(10), cut=False).frames())
    assert abs(upright - again).mean() < 12


def test_duplicates(bucket: Path, truth: dict[str, VideoTruth]) -> None:
    raw = bucket / "raw"
    assert (raw / "extra_twin_a.mp4").read_bytes() == (raw / "extra_twin_b.mp4").read_bytes()
    assert (truth["extra_twin_a.mp4"].expect, truth["extra_twin_b.mp4"].expect) == ("accept", "duplicate")
    assert (truth["extra_near_a.mp4"].expect, truth["extra_near_b.mkv"].expect) == ("accept", "near_duplicate")
    a, b = (next(frames(raw / n)).reformat(120, 80).to_ndarray(format="gray").astype(float)
            for n in ("extra_near_a.mp4", "extra_near_b.mkv"))  # fmt: skip
    assert abs(a - b).mean() < 6


def test_truth_masks_fit_their_frames(truth: dict[str, VideoTruth]) -> None:
    for record in truth.values():
        for instance in record.instances:
            if instance.masks:
                assert len(instance.masks) == record.frames
                seen = [m for m in instance.masks if m]
                assert all(decode_mask(m, record.height, record.width).any() for m in seen[::20])


def test_an_occupied_folder_and_a_missing_truth_are_users_mistakes(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("here")
    with pytest.raises(UserError, match="not empty"):
        render_bucket(tmp_path, 1, 0)
    with pytest.raises(UserError, match="no truth"):
        load_truth(tmp_path)
