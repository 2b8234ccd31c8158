"""Clocks that start anywhere, jump, start again or are guessed. Frames say their own number, which is read."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from schemas import Clip, Reason
from tasks.ingest import sandbox
from tasks.ingest.clock import Clock, Jump, Queue
from tests.tasks.ingest.running import SMALL, clips_of, numbers, run
from tests.tasks.ingest.striped import picture, write

FPS = 12
B_FRAMES = {"preset": "medium", "bf": "3", "crf": "16", "g": "12"}
WMV = {"codec": "wmv2", "options": {"b": "2000000"}}
VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "b": "2000000"}}
MPEG2 = {"codec": "mpeg2video", "fps": 25, "options": {"b": "4000000", "bf": "2"}}


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


def film(path: Path, first: int, last: int, start: Fraction = Fraction(0), **form) -> Path:
    """Frames `first` to `last` at 12 fps, the first of them at `start`."""
    form = form or {"options": B_FRAMES}
    times = [start + Fraction(i, FPS) for i in range(last - first)]
    return write(path, [picture(i) for i in range(first, last)], times, **form)


def joined(path: Path, *parts: Path | bytes) -> Path:
    path.write_bytes(b"".join(p if isinstance(p, bytes) else p.read_bytes() for p in parts))
    return path


def check_even(out: Path, clips: tuple[Clip, ...], step: int = 3) -> list[list[int]]:
    """Every clip goes through its source in even steps. Returns the numbers shown."""
    shown = [numbers(out, clip) for clip in clips]
    for clip, seen in zip(clips, shown, strict=True):
        assert [b - a for a, b in pairwise(seen)] == [step] * (len(seen) - 1), seen
        assert [b - a for a, b in pairwise(clip.window.source_frames)] == [step] * (len(seen) - 1)
    return shown


@pytest.mark.parametrize("start", [20, 100, 3600, 7200])
@pytest.mark.parametrize(
    ("name", "form"),
    [("a.mkv", {}), ("a.wmv", WMV), ("a.webm", VP9), ("a.mp4", {}), ("a.ts", {}), ("a.flv", {}),
     ("piece.mp4", {"options": B_FRAMES, "muxer": {"movflags": "dash+frag_keyframe+delay_moov"}})],
)  # fmt: skip
def test_a_clock_that_starts_late_is_no_missing_end(tmp_path, name, form, start):
    path = film(tmp_path / name, 0, 36, Fraction(start), **form)
    row = run(path, tmp_path)
    assert row.payload is not None, row.detail
    assert check_even(tmp_path, row.payload.clips) == [list(range(0, 27, 3))]
    assert row.payload.facts.duration_s == pytest.approx(3, abs=0.2) and row.payload.clips[0].window.start_s == 0


@pytest.mark.parametrize("start", [0, 20, 100])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_missing_end_is_one_wherever_the_clock_starts(tmp_path, name, start):
    form = {"options": B_FRAMES, "muxer": {"movflags": "faststart"} if name == "a.mp4" else {}}
    whole = film(tmp_path / f"whole_{name}", 0, 48, Fraction(start), **form)
    path = joined(tmp_path / name, whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert run(path, tmp_path).reason is Reason.TRUNCATED


@pytest.mark.parametrize("ending", ["ts", "m2ts"])
@pytest.mark.parametrize(("first", "second"), [(0, 0), (100, 0), (0, 100), (7, 3), (0, 3)])
def test_a_clock_that_starts_again_is_a_cut(tmp_path, ending, first, second):
    a = film(tmp_path / f"a.{ending}", 0, 40, Fraction(first))
    b = film(tmp_path / f"b.{ending}", 100, 150, Fraction(second))
    row = run(joined(tmp_path / f"joined.{ending}", a, b), tmp_path)
    shown = check_even(tmp_path, row.payload.clips)
    assert [s[0] for s in shown] == [0, 100], shown
    assert row.payload.facts.clock_jumps == 1 and row.payload.facts.frames == 90
    assert row.payload.facts.duration_s == pytest.approx(90 / FPS, abs=0.1)


def test_program_streams_are_joined_too(tmp_path):
    a = write(tmp_path / "a.mpg", [picture(i) for i in range(80)], **MPEG2)
    b = write(tmp_path / "b.mpg", [picture(i) for i in range(100, 180)], **MPEG2)
    row = run(joined(tmp_path / "joined.mpg", a, b), tmp_path)
    shown = [numbers(tmp_path, clip) for clip in row.payload.clips]
    assert [s[0] for s in shown] == [0, 100] and shown[0][-1] < 80
    assert row.payload.facts.clock_jumps == 1


@pytest.mark.parametrize("second", [0, 60])
def test_a_part_with_other_packet_ids_goes_on_where_the_first_ends(tmp_path, second):
    a = film(tmp_path / "a.ts", 0, 40)
    b = film(tmp_path / "b.ts", 100, 160, Fraction(second), options=B_FRAMES, muxer={"mpegts_start_pid": "0x200"})
    row = run(joined(tmp_path / "joined.ts", a, b), tmp_path)
    shown = check_even(tmp_path, row.payload.clips)
    assert [s[0] for s in shown] == [0, 100, 127]
    assert row.payload.facts.frames >= 98  # the demuxer holds the last packets back until the end of the file
    assert row.payload.facts.stream == 0 and row.payload.facts.clock_jumps == 1


def test_a_part_that_no_decoder_takes_is_on_record(tmp_path):
    """The stream says H.264 and goes on as MPEG-2, of which the headers are gone."""
    a = film(tmp_path / "a.ts", 0, 40)
    b = write(tmp_path / "b.ts", [picture(i) for i in range(50)], **MPEG2)
    row = run(joined(tmp_path / "joined.ts", a, b.read_bytes().replace(b"\0\0\1\xb3", b"\0\0\0\0")), tmp_path)
    assert len(row.payload.clips) == 1 and row.payload.facts.refused_packets >= 40


@pytest.mark.parametrize("gap", [Fraction(3, 10), Fraction(1, 2), Fraction(9, 10)])
def test_a_short_gap_before_a_key_frame_is_a_jump(tmp_path, gap):
    times = [Fraction(i, FPS) + (gap if i >= 36 else 0) for i in range(72)]
    pictures = [picture(i + (100 if i >= 36 else 0)) for i in range(72)]
    path = write(tmp_path / "gap.mkv", pictures, times, options={"preset": "medium", "g": "12", "bf": "2"})
    row = run(path, tmp_path)
    assert [s[0] for s in check_even(tmp_path, row.payload.clips)] == [0, 136]
    assert row.payload.facts.clock_jumps == 1


def test_a_movie_that_is_trimmed_between_key_frames_is_whole(tmp_path):
    """As telephones trim: an edit list hides the frames before, which are there to be decoded."""
    path = film(tmp_path / "trimmed.mp4", 0, 60, Fraction(-1, 2), options={"preset": "medium", "g": "250", "bf": "2"})
    row = run(path, tmp_path)
    assert row.payload is not None, row.detail
    assert row.payload.facts.damaged_frames == 0
    assert [s[0] for s in check_even(tmp_path, row.payload.clips)] == [6, 33]


def cut_between_key_frames(path: Path, share: float) -> bytes:
    """A transport stream from somewhere in its middle on, at the border of a packet."""
    data = path.read_bytes()
    return data[int(len(data) * share) // 188 * 188 :]


def test_a_stream_that_is_tuned_in_between_key_frames_is_used_from_the_next_one_on(tmp_path):
    whole = film(tmp_path / "whole.ts", 0, 60)
    row = run(joined(tmp_path / "late.ts", cut_between_key_frames(whole, 0.12)), tmp_path)
    ((clip),) = row.payload.clips
    assert check_even(tmp_path, (clip,)) == [list(range(12, 39, 3))]


def test_a_part_that_begins_between_key_frames_is_cut_around(tmp_path):
    a, b = film(tmp_path / "a.ts", 0, 30), film(tmp_path / "b.ts", 100, 160)
    row = run(joined(tmp_path / "joined.ts", a, cut_between_key_frames(b, 0.12)), tmp_path)
    assert [s[0] for s in check_even(tmp_path, row.payload.clips)] == [0, 112]


@pytest.mark.parametrize("name", ["gap.mkv", "gap.mp4", "gap.ts"])
@pytest.mark.parametrize("gap", [2, 20, 4000])
def test_a_gap_is_a_cut_and_no_clip_holds_its_last_frame(tmp_path, name, gap):
    times = [Fraction(i, FPS) + (gap if i >= 45 else 0) for i in range(90)]
    path = write(tmp_path / name, [picture(i) for i in range(90)], times, options=B_FRAMES)
    settings = SMALL.model_copy(update={"max_duration_s": 5000.0})
    shown = check_even(tmp_path, clips_of(path, tmp_path, settings))
    assert [s[0] for s in shown] == [0, 45]


def test_slow_sources_and_held_frames_are_no_gaps(tmp_path):
    slow = write(tmp_path / "slow.mp4", [picture(i) for i in range(8)], [Fraction(3 * i, 2) for i in range(8)])
    clips = clips_of(slow, tmp_path)
    assert numbers(tmp_path, clips[0]) == [0, 0, 0, 0, 0, 0, 1, 1, 1] and len(clips) == 2
    held = [Fraction(i, FPS) + (Fraction(9, 10) if i >= 14 else 0) for i in range(40)]
    row = run(write(tmp_path / "held.mp4", [picture(i) for i in range(40)], held), tmp_path)
    assert row.payload.facts.clock_jumps == 0


@pytest.mark.parametrize("start", [Fraction(2**33, 90000) - 2, Fraction(2**33, 90000) - 100, Fraction(-1)])
def test_a_transport_streams_clock_wraps(tmp_path, start):
    """After 26.5 hours its 33 bits are full."""
    path = film(tmp_path / "wrap.ts", 0, 60, start)
    assert [s[0] for s in check_even(tmp_path, clips_of(path, tmp_path))] == [0, 27]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("b.avi", {"options": {"preset": "medium", "bf": "3", "crf": "16"}}),
        ("pyramid.avi", {"options": {"preset": "slow", "bf": "7", "b-pyramid": "normal", "crf": "16", "g": "12"}}),
        ("asp.avi", {"codec": "mpeg4", "options": {"b": "4000000", "bf": "2"}}),
        ("b.asf", {"options": {"preset": "medium", "bf": "3", "crf": "16"}}),
        ("plain.avi", {"codec": "mpeg4", "options": {"b": "4000000"}}),
        ("raw.h264", {"options": {"preset": "medium", "bf": "3", "crf": "16"}}),
    ],
)
def test_guessed_times_are_not_believed(tmp_path, name, form):
    """Containers that know the order of decoding only."""
    path = write(tmp_path / name, [picture(i) for i in range(60)], fps=FPS, **form)
    settings = SMALL.model_copy(update={"fps": 25 / 3}) if name == "raw.h264" else SMALL  # of no rate: 25 is assumed
    assert [s[0] for s in check_even(tmp_path, clips_of(path, tmp_path, settings))] == [0, 27]


def test_times_that_a_container_rounds_up_still_show_their_frame(tmp_path):
    """Matroska writes 2/3 s as 667 ms, which is after the tick that wants this frame."""
    path = write(tmp_path / "thirds.mkv", [picture(i) for i in range(40)], fps=6)
    settings = SMALL.model_copy(update={"fps": 3.0})
    (first, *_) = clips_of(path, tmp_path, settings)
    assert numbers(tmp_path, first) == list(range(0, 18, 2)) == list(first.window.source_frames)


def test_a_coarse_clock_shows_no_frame_before_its_time(tmp_path):
    """AVI counts frames: a tick is a tenth of a second here, and a clip wants a frame every quarter."""
    path = write(tmp_path / "tenths.avi", [picture(i) for i in range(40)], fps=10, codec="mpeg4")
    (first, *_) = clips_of(path, tmp_path)
    assert numbers(tmp_path, first) == [0, 2, 5, 7, 10, 12, 15, 17, 20] == list(first.window.source_frames)


def laid(ats: list[int | None], keys: tuple[int, ...] = ()) -> list[tuple[float, Jump]]:
    """Starts in tenths of a second of frames at these tenths, on a clock of ten frames a second."""
    clock = Clock(Fraction(1, 10), Fraction(1))
    ticks = [clock.tick(None if a is None else Fraction(a, 10), None, i in keys) for i, a in enumerate(ats)]
    return [(float(10 * start), jump) for start, jump in ticks]


@pytest.mark.parametrize(
    ("ats", "keys", "starts", "jumps"),
    [
        ([50, 51, 52], (), [0, 1, 2], {}),
        ([0, 1, 1, 3], (), [0, 1, 1, 3], {}),
        ([None, None, 2, None, 4], (), [0, 1, 2, 3, 4], {}),
        ([0, 1, 40, 41], (), [0, 1, 2, 3], {2: Jump.AHEAD}),
        ([30, 31, 0, 1], (), [0, 1, 2, 3], {2: Jump.BACK}),
        ([0, 1, 2, 1, 2, 3], (3,), [0, 1, 2, 3, 4, 5], {3: Jump.BACK}),
        ([0, 1, 3, 2, 4], (), [0, 1, 3, 3, 4], {}),
        ([0, 15, 30, 45], (), [0, 1, 16, 31], {1: Jump.AHEAD}),
        ([0, 1, 6, 7], (0, 2), [0, 1, 2, 3], {2: Jump.AHEAD}),
        ([0, 1, 6, 7], (0,), [0, 1, 6, 7], {}),
        ([0, 1, 6, 7], (0, 1, 2, 3), [0, 1, 6, 7], {}),
    ],
)
def test_a_clock_never_goes_back_and_leaves_jumps_out(ats, keys, starts, jumps):
    made = laid(ats, keys)
    assert [start for start, _ in made] == starts
    assert {i: jump for i, (_, jump) in enumerate(made) if jump is not Jump.NONE} == jumps


def test_a_queue_gives_the_nth_time_to_the_nth_frame():
    queue = Queue()
    for at in (0, 3, 1, 2):
        queue.put(Fraction(at))
    assert [queue.get() for _ in range(5)] == [0, 1, 2, 3, None]
