"""Which of several video streams is taken: the main one, never a cover, a preview or a slide."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from schemas import Reason
from tasks.ingest import sandbox
from tests.tasks.ingest.running import SMALL, numbers, run
from tests.tasks.ingest.striped import picture

FPS = 12


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


@dataclass(frozen=True)
class Track:
    width: int
    height: int
    marks: Disposition | None = None
    frames: int = 36
    rate: int = FPS
    codec: str = "libx264"


def mux(path: Path, tracks: Sequence[Track]) -> Path:
    """Tracks side by side; each frame of a track says its own number."""
    with av.open(str(path), "w") as out:
        streams = []
        for track in tracks:
            options = {"preset": "ultrafast"} if track.codec == "libx264" else {"b": "2000000"}
            stream = out.add_stream(track.codec, rate=track.rate, options=options)
            stream.width, stream.height, stream.thread_count = track.width, track.height, 1
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            if track.marks is not None:
                stream.disposition = track.marks
            streams.append(stream)
        for stream, track in zip(streams, tracks, strict=True):
            for i in range(track.frames):
                frame = av.VideoFrame.from_ndarray(picture(i, track.width, track.height), "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, track.rate)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


MAIN = Track(320, 240)
DEFAULT = Disposition.default


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(
    ("tracks", "taken"),
    [
        ([Track(160, 96), MAIN], 1),
        ([MAIN, Track(160, 96)], 0),
        ([Track(96, 72, DEFAULT), MAIN], 1),
        ([Track(320, 240, DEFAULT), Track(640, 480, Disposition(0))], 0),
        ([Track(640, 480, Disposition(0)), Track(320, 240, DEFAULT)], 1),
        ([Track(640, 480, Disposition.attached_pic, frames=1, codec="mjpeg"), MAIN], 1),
        ([Track(640, 480, frames=3, rate=1, codec="mjpeg"), MAIN], 1),
    ],
    ids=["preview first", "preview last", "preview by default", "default first", "default last", "cover", "thumbnails"],
)
def test_the_main_stream_is_taken(tmp_path, ending, tracks, taken):
    row = run(mux(tmp_path / f"a.{ending}", tracks), tmp_path)
    assert row.payload is not None, row.detail
    facts = row.payload.facts
    assert (facts.width, facts.height) == (tracks[taken].width, tracks[taken].height)
    with av.open(str(tmp_path / f"a.{ending}")) as container:
        stream = container.streams[facts.stream]
        assert (stream.width, stream.height, stream.codec_context.name) == (facts.width, facts.height, facts.codec)
    assert numbers(tmp_path, row.payload.clips[0]) == list(range(0, 27, 3))


def test_a_large_picture_that_nobody_marked_is_no_video(tmp_path):
    row = run(mux(tmp_path / "a.mp4", [Track(640, 480, DEFAULT, frames=1, codec="mjpeg"), MAIN]), tmp_path)
    assert row.payload.facts.stream == 1


def test_the_largest_of_several_programs_is_taken(tmp_path):
    row = run(mux(tmp_path / "a.ts", [Track(160, 96), MAIN, Track(240, 176)]), tmp_path)
    assert row.payload.facts.stream == 1 and numbers(tmp_path, row.payload.clips[0]) == list(range(0, 27, 3))


def test_where_there_is_only_a_small_one_it_is_said_to_be_too_small(tmp_path):
    settings = SMALL.model_copy(update={"min_side": 120})
    assert run(mux(tmp_path / "a.mp4", [Track(160, 96), Track(96, 72)]), tmp_path, settings).reason is Reason.TOO_SMALL


def test_a_cover_alone_is_no_video(tmp_path):
    path = mux(tmp_path / "a.mp4", [Track(320, 240, Disposition.attached_pic, frames=1, codec="mjpeg")])
    assert run(path, tmp_path).reason is Reason.NO_VIDEO_STREAM
