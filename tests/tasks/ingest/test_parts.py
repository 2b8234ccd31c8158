"""Recordings glued together in one file, and streams that begin or change their codec late: all of them are read."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from schemas import Reason
from tasks.ingest import sandbox
from tasks.ingest.parts import sections
from tests.tasks.ingest.running import numbers, run
from tests.tasks.ingest.striped import picture, write
from tests.tasks.ingest.test_clock import B_FRAMES, MPEG2, VP9, WMV, check_even, film, joined

FAST = {"preset": "ultrafast", "crf": "14", "g": "12"}
FRAGMENTS = {"movflags": "dash+frag_keyframe+delay_moov"}


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.mp4", {"options": B_FRAMES}),
        ("a.mov", {"options": FAST}),
        ("faststart.mp4", {"options": FAST, "muxer": {"movflags": "faststart"}}),
        ("dash.mp4", {"options": B_FRAMES, "muxer": FRAGMENTS}),
        ("frag.mp4", {"options": FAST, "muxer": {"movflags": "frag_keyframe+empty_moov"}}),
        ("a.flv", {"options": FAST}),
        ("a.wmv", WMV),
        ("a.mkv", {"options": FAST}),
        ("a.ivf", VP9),
        ("a.avi", {"codec": "mpeg4", "options": {"b": "4000000"}}),
        ("a.mxf", MPEG2),
    ],
)
def test_what_is_glued_on_is_read_after_a_cut(tmp_path: Path, name: str, form: dict):
    """Both parts look alike, so that nothing but the seam can cut them."""
    paced = name in ("a.avi", "a.mxf", "a.ivf")  # of a fixed rate
    a, b = (
        write(tmp_path / f"{k}_{name}", [picture(i) for i in range(first, first + 80)], **{"fps": 12, **form})
        if paced
        else film(tmp_path / f"{k}_{name}", first, first + 80, **form)
        for k, first in (("a", 0), ("b", 100))
    )
    row = run(joined(tmp_path / name, a, b), tmp_path)
    assert row.payload is not None, row.detail
    facts, shown = row.payload.facts, [numbers(tmp_path, clip) for clip in row.payload.clips]
    assert [s[0] for s in shown] == ([0, 100] if name == "a.mxf" else [0, 27, 100, 127])
    assert facts.clock_jumps == 1 and not facts.damaged_frames
    assert len(sections(str(tmp_path / name))) == (1 if name == "a.mkv" else 2)


def test_a_part_that_is_cut_off_is_no_whole_source(tmp_path):
    a = film(tmp_path / "a.mp4", 0, 40, options=FAST, muxer={"movflags": "faststart"})
    b = film(tmp_path / "b.mp4", 100, 160, options=FAST, muxer={"movflags": "faststart"})
    path = joined(tmp_path / "glued.mp4", a, b.read_bytes()[: b.stat().st_size // 2])
    assert run(path, tmp_path).reason is Reason.TRUNCATED


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and bytes of each box of an mp4."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        found.append((data[4:8], data[:length]))
        data = data[length:]
    return found


def test_fragments_that_repeat_their_index_are_one_recording(tmp_path):
    whole = boxes(film(tmp_path / "a.mp4", 0, 96, options=FAST, muxer=FRAGMENTS).read_bytes())
    index = b"".join(data for kind, data in whole if kind in (b"ftyp", b"moov"))
    pieces = [data for kind, data in whole if kind in (b"moof", b"mdat")]
    parts = [index + pieces[i] + pieces[i + 1] for i in range(0, len(pieces), 2)]
    path = joined(tmp_path / "pieces.mp4", *parts)
    assert len(parts) == 8 and len(sections(str(path))) == 1
    assert [s[0] for s in check_even(tmp_path, run(path, tmp_path).payload.clips)] == [0, 27]


def test_what_follows_a_video_and_is_none_does_no_harm(tmp_path):
    path = joined(tmp_path / "a.mp4", film(tmp_path / "b.mp4", 0, 40), bytes(50_000), b"ftyp" * 1000)
    row = run(path, tmp_path)
    assert row.payload.facts.frames == 40 and len(sections(str(path))) == 1


def noisy(i: int) -> np.ndarray:
    """A numbered picture that no encoder makes small."""
    image = picture(i)
    image[180:] = np.random.default_rng(i).integers(0, 256, (60, 320, 3), dtype=np.uint8)
    return image


@pytest.mark.parametrize(
    "ids", [{"mpegts_start_pid": "0x200"}, {"mpegts_pmt_start_pid": "0x1010", "mpegts_start_pid": "0x300"}]
)
def test_packet_ids_that_begin_after_the_header_was_looked_for_are_read(tmp_path, ids):
    times = [Fraction(i, 12) for i in range(140)]
    a = write(tmp_path / "a.ts", [noisy(i) for i in range(140)], times, options={"preset": "ultrafast", "qp": "1"})
    assert a.stat().st_size > 5_000_000
    b = film(tmp_path / "b.ts", 150, 190, options=FAST, muxer=ids)
    row = run(joined(tmp_path / "joined.ts", a, b), tmp_path)
    assert row.payload is not None, row.detail
    assert [s[0] for s in check_even(tmp_path, row.payload.clips)] == [0, 27, 150]


def test_an_id_whose_turn_comes_again_is_read_again(tmp_path):
    a, c = film(tmp_path / "a.ts", 0, 36), film(tmp_path / "c.ts", 200, 236)
    b = film(tmp_path / "b.ts", 100, 136, options=B_FRAMES, muxer={"mpegts_start_pid": "0x200"})
    row = run(joined(tmp_path / "joined.ts", a, b, c), tmp_path)
    assert row.payload is not None, row.detail
    assert [s[0] for s in check_even(tmp_path, row.payload.clips)] == [0, 100, 200]


def test_a_new_codec_under_the_same_id_is_read(tmp_path):
    a = film(tmp_path / "a.ts", 0, 40)
    b = write(tmp_path / "b.ts", [picture(i) for i in range(100, 175)], **MPEG2)
    row = run(joined(tmp_path / "joined.ts", a, b), tmp_path)
    shown = [numbers(tmp_path, clip) for clip in row.payload.clips]
    assert [s[0] for s in shown] == [0, 100] and shown[1][-1] > 140
    assert row.payload.facts.refused_packets == 0
