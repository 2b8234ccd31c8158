"""Decode a source once, from front to back: every displayed frame with its time, and what the container says about it.

Runs in a child process (tasks/ingest/sandbox.py). Frames are numbered as they are displayed, which is the order in
which truth masks and other tools count them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from schemas import MediaFacts, Reason
from tasks.errors import Reject

_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,h264,hevc,ivf,yuv4mpegpipe,nut,gif"
"""Demuxers to try. Playlists and the like are left out: they would make the decoder open other files and hosts."""

DECODED_SHARE = Fraction(95, 100)
"""A source is truncated when less than this share of what its header promises can be decoded."""

_DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True)
class Shown:
    """A frame on screen from `start` on."""

    index: int
    """Counts displayed frames, from 0."""
    start: Fraction
    """Seconds since the first frame."""
    frame: av.VideoFrame
    sound: bool
    """False where the decoder had to make up parts of the frame, and from there to the next key frame."""


class Decoder:
    """One source, read once. `frames` first; `end` and `facts` hold afterwards."""

    def __init__(self, path: str) -> None:
        """Open the file. Raises Reject: UNDECODABLE or NO_VIDEO_STREAM."""
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        try:
            self._container: InputContainer = av.open(path, options=options, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise Reject(Reason.UNDECODABLE, f"no video container: {_text(error)}") from error
        streams = [
            s for s in self._container.streams.video if not Disposition(s.disposition) & Disposition.attached_pic
        ]
        if not streams:
            kinds = ", ".join(sorted({s.type for s in self._container.streams}))
            raise Reject(Reason.NO_VIDEO_STREAM, f"the file holds {kinds or 'nothing'} only")
        self._stream: VideoStream = streams[0]
        if self._stream.codec_context is None:
            raise Reject(Reason.UNDECODABLE, "no decoder for the video stream")
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        self._count = 0
        self._last_error: str | None = None
        self._damaged = False
        self._latest = Fraction(0)
        self._rotation = 0
        self._start: Fraction | None = None
        self._shape: tuple[int, int, str] | None = None
        self.end = Fraction(0)
        """When the last frame leaves the screen, in seconds since the first one."""

    @property
    def promised_s(self) -> float:
        """Length in seconds as the header has it; 0 where it says nothing."""
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return (container.duration or 0) / av.time_base

    @property
    def rate(self) -> Fraction:
        """Average frame rate in 1/s by the header."""
        return Fraction(self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height; 1 where the file says nothing."""
        return Fraction(self._stream.sample_aspect_ratio or 1)

    @property
    def tick(self) -> Fraction:
        """The container's unit of time in seconds: times are rounded to it."""
        return Fraction(self._stream.time_base or Fraction(1, 1000))

    def close(self) -> None:
        self._container.close()

    def frames(self) -> Iterator[Shown]:
        """Every displayed frame. Raises Reject(UNDECODABLE) where there is none, TRUNCATED where the end is missing."""
        reach: dict[int, Fraction] = {}
        for packet in self._packets():
            at = packet.pts if packet.pts is not None else packet.dts
            if at is not None:
                until = (at + (packet.duration or 0)) * packet.time_base
                reach[packet.stream_index] = max(reach.get(packet.stream_index, until), until)
            if packet.stream_index == self._stream.index:
                yield from map(self._shown, self._decode(packet))
        yield from map(self._shown, self._decode(None))
        self._check(max(reach.values(), default=Fraction(0)))

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._last_error = _text(error)
                return
            if packet is None:
                return
            if packet.size:  # empty ones only mark the end
                yield packet

    def _decode(self, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
        try:
            return self._stream.decode(packet)
        except av.error.EOFError:
            return []
        except av.FFmpegError as error:
            self._last_error = _text(error)
            return []

    def _shown(self, frame: av.VideoFrame) -> Shown:
        if frame.pts is None or frame.time_base is None:
            start = self.end
        else:
            at = frame.pts * frame.time_base
            self._start = at if self._start is None else self._start
            start = at - self._start
        lasts = frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / self.rate
        start = self._latest = max(start, self._latest)
        self.end = start + lasts
        if self._count == 0:
            self._rotation = clockwise(frame)
            self._shape = (frame.width, frame.height, frame.format.name)
        if frame.is_corrupt or self._last_error is not None:
            self._damaged = True
        elif frame.key_frame:
            self._damaged = False
        shown = Shown(self._count, start, frame, sound=not self._damaged)
        self._last_error = None
        self._count += 1
        return shown

    def _check(self, reach: Fraction) -> None:
        """Does what was decoded agree with what the header promised?"""
        if self._count == 0:
            raise Reject(Reason.UNDECODABLE, self._last_error or "the video stream holds no frames")
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            there, promised = self.end, stream.duration * stream.time_base
        else:  # Matroska knows the longest of its streams only
            there = reach - Fraction(container.start_time or 0, av.time_base)
            promised = Fraction(container.duration or 0, av.time_base)
        if there < DECODED_SHARE * promised:
            raise Reject(Reason.TRUNCATED, f"{float(there):.2f} s of {float(promised):.2f} s are there")
        if self._last_error is not None:
            raise Reject(Reason.TRUNCATED, f"the stream ends in an error: {self._last_error}")

    def facts(self) -> MediaFacts:
        """What is known once at least one frame was decoded."""
        assert self._shape
        width, height, pixel_format = self._shape
        return MediaFacts(
            container=self._container.format.name,
            codec=self._stream.codec_context.name,
            pixel_format=pixel_format,
            width=width,
            height=height,
            rotation=self._rotation,
            fps=float(self.rate),
            duration_s=self.promised_s or float(self.end),
            frames=self._count,
            has_audio=bool(self._container.streams.audio),
        )


def clockwise(frame: av.VideoFrame) -> int:
    """Degrees to turn the coded frame clockwise for display, to the next quarter turn."""
    return round(-frame.rotation / 90) % 4 * 90


def _text(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
