"""Decode a source once, from front to back: every displayed frame with its time, and what the container says about it.

Runs in a child process (tasks/ingest/sandbox.py). Frames are numbered as they are displayed, which is the order in
which truth masks and other tools count them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from schemas import MediaFacts, Reason
from tasks.errors import Reject
from tasks.ingest.clock import Clock, Jump, Queue
from tasks.ingest.colours import MATRICES, PRIMARIES, TRANSFERS, has_alpha
from tasks.ingest.streams import Successors, main_video, promised

_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,h264,hevc,ivf,yuv4mpegpipe,nut,gif"
"""Demuxers to try. Playlists and the like are left out: they would make the decoder open other files and hosts."""

DECODED_SHARE = Fraction(95, 100)
"""A source is truncated when less than this share of what its header promises can be decoded, ..."""

SLACK = Fraction(1, 2)
"""... and at least so many seconds are missing: some headers count in the wait for B-frames, or a longer sound."""

_DEFAULT_RATE = Fraction(25)

_GUESSED = {"avi", "asf"}
"""Containers with one time a packet, in the order of decoding. With B-frames the time of display is ffmpeg's guess."""

_SPLICED = {"mpeg", "mpegvideo"}
"""Containers that are cut and joined anywhere and do not number their packets, so that a gap may hide a joint."""

_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read WebM's second stream of alpha; ffmpeg's own leave it out."""

_ORDERS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
"""AVFieldOrder: which field is shown first."""


@dataclass(frozen=True)
class Shown:
    """A frame on screen from `start` on."""

    index: int
    """Counts displayed frames, from 0."""
    start: Fraction
    """Seconds on screen since the first frame; jumps of the clock take none."""
    frame: av.VideoFrame
    sound: bool
    """False where the decoder had to make up parts of the frame, and from there to the next key frame."""
    jump: bool = False
    """The clock jumped before this frame, so what is shown may be another recording."""
    turn: int = 0
    """Degrees to turn the frame clockwise for display."""


class Decoder:
    """One source, read once. `frames` first; `end` and `facts` hold afterwards."""

    def __init__(self, path: str, min_side: int, max_gap: Fraction) -> None:
        """Open the file. `max_gap` is in seconds. Raises Reject: UNDECODABLE or NO_VIDEO_STREAM."""
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        try:
            self._container: InputContainer = av.open(path, options=options, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise Reject(Reason.UNDECODABLE, f"no video container: {_text(error)}") from error
        self._stream = main_video(self._container, min_side)
        self._read(self._stream)
        self._successors = Successors()
        self._clock = Clock(1 / self.rate, max_gap)
        self._queue = Queue() if self._times_are_guessed() else None
        self._spliced = self._container.format.name in _SPLICED
        self._begins: Fraction | None = None
        if self._stream.start_time is not None and self._stream.time_base:
            self._begins = self._stream.start_time * self._stream.time_base
        self._reach = Fraction(0)
        self._count = 0
        self._unsound = self._refused = 0
        self._last_error: str | None = None
        self._damaged = False
        self._interlaced = False
        self._first: av.VideoFrame | None = None

    def _read(self, stream: VideoStream) -> None:
        self._reading = stream.index
        self._codec: VideoCodecContext = stream.codec_context
        if stream.metadata.get("alpha_mode") == "1" and self._codec.name in _WITH_ALPHA:
            self._codec = cast(VideoCodecContext, CodecContext.create(_WITH_ALPHA[self._codec.name], "r"))
        self._codec.thread_type = "NONE"
        self._codec.thread_count = 1

    def _times_are_guessed(self) -> bool:
        name = self._container.format.name
        video_for_windows = name.startswith("matroska") and self._codec.codec_tag.strip("\0 ")
        return name in _GUESSED or bool(video_for_windows)

    @property
    def promised_s(self) -> float:
        """Length in seconds as the header has it; 0 where it says nothing. Holds from the first frame on."""
        return float(self._promised())

    def _promised(self) -> Fraction:
        return promised(self._container, self._stream, self._begins or Fraction(0))

    @property
    def end(self) -> Fraction:
        """When the last frame leaves the screen, in seconds since the first one."""
        return self._clock.end

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

    @property
    def field_order(self) -> str | None:
        """By the stream: "tff", "bff", or None where it is progressive or unknown."""
        return _ORDERS.get(self._codec.field_order)

    def unmarked_fields(self) -> str | None:
        """The field order of a stream that is interlaced while its codec has no way of marking frames as such."""
        return None if self._interlaced or not self._codec.codec.intra_only else self.field_order

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
            if packet.stream_index == self._reading:
                self._successors.still_here()
                yield from map(self._shown, self._feed(packet, at))
            elif packet.stream.type == "video" and (kept := self._successors.offer(packet)):
                yield from map(self._shown, self._decode(None))
                self._read(packet.stream)
                self._clock.join()
                for first in kept:
                    yield from map(self._shown, self._feed(first, first.pts))
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

    def _feed(self, packet: "av.Packet[Any]", at: int | None) -> list[av.VideoFrame]:
        if self._begins is None and at is not None:
            self._begins = at * packet.time_base
        if self._count == 0 and not packet.is_keyframe and self._queue is None:
            self._damaged = True  # tuned in between key frames
        if packet.is_corrupt:  # the demuxer misses data around it
            self._damaged = True
        if self._queue and packet.dts is not None:
            self._queue.put(packet.dts * packet.time_base)
        return self._decode(packet)

    def _decode(self, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
        try:
            return self._codec.decode(packet)
        except av.error.EOFError:
            return []
        except av.FFmpegError as error:
            self._last_error = _text(error)
            self._refused += 1
            if self._queue:
                self._queue.get()
            return []

    def _shown(self, frame: av.VideoFrame) -> Shown:
        # The stream's unit: frames that come out at the end have lost theirs.
        at = None if frame.pts is None else frame.pts * self.tick
        if self._queue:
            at = self._queue.get()
        lasts = frame.duration * self.tick if frame.duration else None
        start, jump = self._clock.tick(at, lasts, bool(frame.key_frame))
        if at is not None:
            self._reach = max(self._reach, at + self._clock.end - start)
        if self._first is None:
            self._first = frame
        self._interlaced = self._interlaced or frame.interlaced_frame
        if frame.is_corrupt or self._last_error is not None:
            self._damaged = True
        elif frame.key_frame:
            self._damaged = False
        elif jump is Jump.BACK or (jump is Jump.AHEAD and self._spliced):
            self._damaged = True
        shown = Shown(self._count, start, frame, not self._damaged, jump is not Jump.NONE, clockwise(frame))
        self._last_error = None
        self._count += 1
        self._unsound += not shown.sound
        return shown

    def _check(self, reach: Fraction) -> None:
        """Does what was decoded agree with what the header promised?"""
        if self._count == 0:
            raise Reject(Reason.UNDECODABLE, self._last_error or "the video stream holds no frames")
        if not self._stream.duration:  # Matroska knows the longest of its streams only
            self._reach = max(self._reach, reach)
        there, promise = self._reach - (self._begins or 0), self._promised()
        if there < min(DECODED_SHARE * promise, promise - SLACK):
            raise Reject(Reason.TRUNCATED, f"{float(there):.2f} s of {float(promise):.2f} s are there")
        if promise and self._last_error is not None:
            raise Reject(Reason.TRUNCATED, f"the stream ends in an error: {self._last_error}")

    def _fields(self) -> str:
        if self._interlaced or self.unmarked_fields():
            return self.field_order or "interlaced"
        return "progressive"

    def facts(self) -> MediaFacts:
        """What is known once at least one frame was decoded."""
        first = self._first
        assert first
        return MediaFacts(
            container=self._container.format.name,
            codec=self._stream.codec_context.name,
            pixel_format=first.format.name,
            width=first.width,
            height=first.height,
            rotation=clockwise(first),
            fps=float(self.rate),
            duration_s=max(self.promised_s, float(self.end)),
            frames=self._count,
            has_audio=bool(self._container.streams.audio),
            stream=self._stream.index,
            bit_depth=max(part.bits for part in first.format.components),
            transfer=TRANSFERS.get(first.color_trc, "unknown"),
            primaries=PRIMARIES.get(first.color_primaries, "unknown"),
            matrix=MATRICES.get(first.colorspace, "unknown"),
            alpha=has_alpha(first),
            field_order=self._fields(),
            pixel_aspect=float(self.pixel_aspect),
            clock_jumps=self._clock.jumps,
            damaged_frames=self._unsound,
            refused_packets=self._refused,
        )


def clockwise(frame: av.VideoFrame) -> int:
    """Degrees to turn the coded frame clockwise for display, to the next quarter turn."""
    return round(-frame.rotation / 90) % 4 * 90


def _text(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
