"""Files whose ending says nothing: told by their first bytes, and never without a trace."""

import builtins
import io
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from schemas import Reason, Status
from tasks.scan.endings import HEAD, OTHERS, VIDEOS, starts_like_a_video
from tasks.scan.stage import ScanSettings, hash_files, list_files

SETTINGS = ScanSettings()


def put(path: Path, data: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def video(format: str, codec: str = "mpeg4", pixels: str = "yuv420p") -> bytes:
    """A few frames in a container."""
    file = io.BytesIO()
    file.name = "none"
    with av.open(file, "w", format=format) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for i in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * i, np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


CONTAINERS = {
    "mp4": {}, "mov": {}, "matroska": {}, "webm": {"codec": "libvpx-vp9"}, "avi": {}, "asf": {}, "nut": {},
    "mpegts": {"codec": "mpeg2video"}, "vob": {"codec": "mpeg2video"}, "mxf": {"codec": "mpeg2video"},
    "flv": {"codec": "flv"}, "gif": {"codec": "gif", "pixels": "rgb8"}, "ogg": {"codec": "libvpx"},
    "ivf": {"codec": "libvpx-vp9"}, "mpeg2video": {"codec": "mpeg2video"},
}  # fmt: skip


def ends(folder: str | Path, settings: ScanSettings = SETTINGS) -> dict[str, Reason | Status]:
    found = list(list_files(str(folder), settings))
    rows = hash_files(found, settings)
    return {f.name: r.reason or r.status for f, r in zip(found, rows, strict=True)}


@pytest.mark.parametrize("format", CONTAINERS)
def test_a_video_without_an_ending_is_told_by_its_content(tmp_path, format):
    data = video(format, **CONTAINERS[format])
    for name in ("clip", "clip.part", "clip.2024-05-01", "a.b/clip"):
        put(tmp_path / name, data)
    assert set(ends(tmp_path).values()) == {Status.ACCEPTED} and len(ends(tmp_path)) == 4


def test_blu_ray_streams_have_four_bytes_before_each_packet():
    assert starts_like_a_video((bytes(4) + b"\x47" + bytes(187)) * 6)
    assert not starts_like_a_video(b"GGGGG" + b"\x00" * 500) and not starts_like_a_video(b"G")


NO_VIDEOS = {
    "notes": b"some text", "README": b"# Read me", "_SUCCESS": b"", "data.bin": bytes(range(256)) * 8, "x.weird": b"x",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(64), "sound": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "photo": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "song": b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A ",
}  # fmt: skip


def test_what_is_no_video_and_has_no_known_ending_is_rejected_with_what_to_do(tmp_path):
    for name, data in NO_VIDEOS.items():
        put(tmp_path / name, data)
    found = list(list_files(str(tmp_path), SETTINGS))
    for file, row in zip(found, hash_files(found, SETTINGS), strict=True):
        assert row.reason is Reason.UNKNOWN_ENDING and file.name in row.detail
        assert ("no ending" in row.detail) if "." not in file.name else ("scan.extensions" in row.detail)
    assert len(found) == len(NO_VIDEOS)


def test_a_listed_ending_is_taken_by_its_word_and_an_ignored_one_leaves_no_trace(tmp_path):
    for name in ("a.gif", "b.MXF", "c.vob", "d.ogm", "e.weird", "f.csv", "g.txt", "h.JPG", ".hidden", "i.tar.gz"):
        put(tmp_path / name)
    ended = ends(tmp_path)
    assert {n for n, e in ended.items() if e is Status.ACCEPTED} == {"a.gif", "b.MXF", "c.vob", "d.ogm"}
    assert ended.pop("e.weird") is Reason.UNKNOWN_ENDING and len(ended) == 4
    taken = ScanSettings(extensions=(*VIDEOS, ".Weird"), ignored_extensions=(*OTHERS, ".gif"))
    assert ends(tmp_path, taken)["e.weird"] is Status.ACCEPTED and ends(tmp_path, taken)["a.gif"] is Status.ACCEPTED
    assert "e.weird" not in ends(tmp_path, ScanSettings(ignored_extensions=(".weird",)))


def test_the_one_file_that_is_named_needs_no_ending(tmp_path):
    assert ends(put(tmp_path / "raw.weird")) == {"raw.weird": Status.ACCEPTED}


def test_a_listing_opens_nothing_and_hashing_reads_no_more_than_the_start_of_what_it_rejects(tmp_path, monkeypatch):
    for i in range(20):
        put(tmp_path / f"part{i}", b"\x00" * (3 << 20))
    opened = []
    real = builtins.open
    monkeypatch.setattr(io, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    found = list(list_files(str(tmp_path), SETTINGS))
    assert len(found) == 20 and not opened
    assert {r.reason for r in hash_files(found, SETTINGS)} == {Reason.UNKNOWN_ENDING} and len(opened) == 20


def test_buckets_are_treated_alike_and_folder_marks_are_no_files():
    fs = fsspec.filesystem("memory")
    for name, data in {"a": video("mp4"), "b": b"text", "c.txt": b"text", ".d": b"x", "e.mp4": b"video"}.items():
        fs.pipe(f"/endings-test/{name}", data)
    assert ends("memory://endings-test") == {
        "a": Status.ACCEPTED, "b": Reason.UNKNOWN_ENDING, "e.mp4": Status.ACCEPTED,
    }  # fmt: skip
    fs.rm("/endings-test", recursive=True)


def test_the_lists_do_not_overlap_and_are_written_alike():
    both = (*VIDEOS, *OTHERS)
    assert len(set(both)) == len(both) and all(e == e.lower() and e.startswith(".") for e in both)
    assert HEAD >= 3 * 204
