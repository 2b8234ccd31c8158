"""Scenes to video files, with the same bytes for the same scene: one thread, no dates, no random identifiers."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Format:
    """A container with a codec and its options."""

    suffix: str
    muxer: str
    codec: str
    pixels: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    """Options of the muxer."""


_NO_TREE = ("x264-params", "mbtree=0")
"""x264's macroblock tree reads memory that it has not written: the bytes would differ from run to run (decision 5)."""
_X264 = (("preset", "ultrafast"), ("crf", "23"))
_VPX = (("deadline", "realtime"), ("cpu-used", "8"), ("crf", "24"), ("b", "2500000"))
_VP8 = (("deadline", "realtime"), ("cpu-used", "-8"), *_VPX[2:])
"""Given a positive speed, VP8's encoder goes by the clock: a busy machine would write other bytes."""
_MPEG4 = (("qscale", "3"), ("b", "4000000"))

H264 = Format("mp4", "mp4", "libx264", options=_X264)
FASTSTART = Format("mp4", "mp4", "libx264", options=_X264, flags=(("movflags", "faststart"),))
TEN_BIT = Format("mp4", "mp4", "libx264", "yuv420p10le", _X264)
ODD = Format("mkv", "matroska", "libvpx-vp9", options=_VPX)
LOW = Format("mkv", "matroska", "libx264", options=(("preset", "veryfast"), ("crf", "27"), _NO_TREE))
MKV = Format("mkv", "matroska", "libx264", options=_X264)

FORMATS: tuple[Format, ...] = (
    H264, FASTSTART, MKV,
    Format("mp4", "mp4", "libx264", options=(("preset", "veryfast"), ("crf", "25"), _NO_TREE)),
    Format("mov", "mov", "libx264", options=_X264),
    Format("mp4", "mp4", "mpeg4", options=_MPEG4),
    Format("avi", "avi", "mpeg4", options=_MPEG4),
    Format("webm", "webm", "libvpx-vp9", options=_VPX),
    Format("webm", "webm", "libvpx", options=_VP8),
    Format("mkv", "matroska", "mpeg4", options=_MPEG4),
)  # fmt: skip
"""What the good videos are mixed from; h264 most often."""


def write_video(
    path: Path, frames: Iterable[tuple[NDArray[np.uint8], Fraction]], rate: Fraction, form: Format, audio_s: float = 0.0
) -> None:
    """Encode RGB frames uint8 [H, W, 3], each with its time in seconds. `audio_s` adds a tone of that length."""
    with av.open(str(path), "w", format=form.muxer, options={"fflags": "+bitexact", **dict(form.flags)}) as out:
        told = {**dict(form.options), "flags": "+bitexact", "threads": "1"}
        stream = cast(av.VideoStream, out.add_stream(form.codec, rate=rate, options=told))
        stream.pix_fmt = form.pixels
        stream.thread_count = 1
        base = Fraction(1, 1) / (rate * 2 if form.muxer != "avi" else rate)
        sound = out.add_stream("aac", rate=44100, layout="mono") if audio_s else None
        opened = False
        for picture, time in frames:
            if not opened:
                stream.height, stream.width = picture.shape[:2]
                stream.codec_context.time_base = base
                opened = True
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.time_base, frame.pts = base, round(time / base)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            _tone(out, sound, audio_s)


def write_audio(path: Path, seconds: float) -> None:
    """An mp4 that holds a tone and no picture."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        _tone(out, out.add_stream("aac", rate=44100, layout="mono"), seconds)


def _tone(out: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    count = int(44100 * seconds)
    wave = (0.2 * np.sin(2 * np.pi * 330 * np.arange(count) / 44100)).astype(np.float32)
    for start in range(0, count, 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def turn_display(path: Path, width: int) -> None:
    """Write "turn by 90° clockwise for display" into the track header of an mp4 whose coded width is given."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    fixed = (0, 1 << 16, 0, -(1 << 16), 0, 0, width << 16, 0, 1 << 30)
    for k, value in enumerate(fixed):
        data[at + 4 * k : at + 4 * k + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))
