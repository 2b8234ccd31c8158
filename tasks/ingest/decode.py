"""Decode a source once, from front to back: every displayed frame with its time, and what the container says about it.

Runs in a child process (tasks/ingest/sandbox.py). Frames are numbered as they are displayed, which is the order in
which truth masks and other tools count them.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from schemas import MediaFacts, Reason
from tasks.errors import Reject
from tasks.ingest.clock import Clock, Jump, Queue
from tasks.ingest.colours import MATRICES, PRIMARIES, TRANSFERS, has_alpha
from tasks.ingest.parts import sections
from tasks.ingest.recording import Recording, text_of
from tasks.ingest.streams import Successors

DECODED_SHARE = Fraction(95, 100)
"""A source is truncated when less than this share of what its header promises can be decoded, ..."""

SLACK = Fraction(1, 2)
"""... and at least so many seconds are missing: some headers count in the wait for B-frames, or a longer sound."""


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
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""


class Decoder:
    """One source, read once. `frames` first; `end` and `facts` hold afterwards."""

    def __init__(self, path: str, min_side: int, max_gap: Fraction) -> None:
        """Open the file. `max_gap` is in seconds. Raises Reject: UNDECODABLE or NO_VIDEO_STREAM."""
        self._path, self._min_side = path, min_side
        first, *self._others = sections(path)
        self._first = Recording(path, first, min_side)
        self._clock = Clock(1 / self._first.rate, max_gap)
        self._count = 0
        self._unsound = self._refused = 0
        self._doubted = 0
        """Packets refused at the end of one recording, and lost if the next one makes no frames of them."""
        self._damaged = False
        self._interlaced = False
        self._first_frame: av.VideoFrame | None = None
        self._begin(self._first)

    def _begin(self, recording: Recording) -> None:
        """What holds for one recording in the file only."""
        self._recording = recording
        self._counted = self._count
        self._successors = Successors()
        self._queue = Queue() if recording.times_are_guessed else None
        self._reach = Fraction(0)
        self._keyed = False
        self._last_error: str | None = None

    @property
    def promised_s(self) -> float:
        """Length in seconds as the header has it; 0 where it says nothing. Holds from the first frame on."""
        return float(self._first.promised)

    @property
    def end(self) -> Fraction:
        """When the last frame leaves the screen, in seconds since the first one."""
        return self._clock.end

    @property
    def tick(self) -> Fraction:
        """The container's unit of time in seconds: times are rounded to it."""
        return self._first.tick

    def unmarked_fields(self) -> str | None:
        """The field order of a stream that is interlaced while its codec has no way of marking frames as such."""
        marked = self._interlaced or not self._recording.codec.codec.intra_only
        return None if marked else self._recording.field_order

    def frames(self) -> Iterator[Shown]:
        """Every displayed frame. Raises Reject(UNDECODABLE) where there is none, TRUNCATED where the end is missing."""
        while True:
            yield from self._frames()
            following = self._following()
            if following is None:
                return
            self._clock.join()
            self._begin(following)

    def _frames(self) -> Iterator[Shown]:
        """Those of one recording."""
        recording = self._recording
        reach: dict[int, Fraction] = {}
        for packet in recording.packets():
            at = packet.pts if packet.pts is not None else packet.dts
            if at is not None:
                until = (at + (packet.duration or 0)) * packet.time_base
                reach[packet.stream_index] = max(reach.get(packet.stream_index, until), until)
            if packet.stream_index == recording.reading:
                self._successors.still_here()
                yield from map(self._shown, self._feed(packet, at))
            elif packet.stream.type == "video" and (kept := self._successors.offer(packet)):
                yield from map(self._shown, self._decode(None))
                recording.read(packet.stream)
                self._clock.join()
                for first in kept:
                    yield from map(self._shown, self._feed(first, first.pts))
        self._last_error = recording.error or self._last_error
        yield from map(self._shown, self._decode(None))
        self._check(max(reach.values(), default=Fraction(0)))

    def _feed(self, packet: "av.Packet[Any]", at: int | None) -> list[av.VideoFrame]:
        if self._recording.begins is None and at is not None:
            self._recording.begins = at * packet.time_base
        self._keyed = self._keyed or packet.is_keyframe
        if not (self._keyed or self._queue):
            self._damaged = True  # tuned in between key frames
        if packet.is_keyframe and self._last_error is not None:  # of packets that it does not need
            self._damaged, self._last_error = True, None
        if packet.is_corrupt:  # the demuxer misses data around it
            self._damaged = True
        if self._queue and packet.dts is not None:
            self._queue.put(packet.dts * packet.time_base)
        return self._decode(packet)

    def _decode(self, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
        try:
            return self._recording.decode(packet)
        except av.FFmpegError as error:
            self._last_error = text_of(error)
            if self._queue:
                self._queue.get()
            return []

    def _shown(self, frame: av.VideoFrame) -> Shown:
        # The stream's unit: frames that come out at the end have lost theirs.
        at = None if frame.pts is None else frame.pts * self._recording.tick
        if self._queue:
            at = self._queue.get()
        lasts = frame.duration * self._recording.tick if frame.duration else None
        start, jump = self._clock.tick(at, lasts, bool(frame.key_frame))
        if at is not None:
            self._reach = max(self._reach, at + self._clock.end - start)
        if self._first_frame is None:
            self._first_frame = frame
        self._interlaced = self._interlaced or frame.interlaced_frame
        if frame.is_corrupt or self._last_error is not None:
            self._damaged = True
        elif frame.key_frame:
            self._damaged = False
        elif jump is Jump.BACK or (jump is Jump.AHEAD and self._recording.spliced):
            self._damaged = True
        shown = Shown(
            self._count, start, frame, not self._damaged, jump is not Jump.NONE, clockwise(frame),
            self._recording.pixel_aspect,
        )  # fmt: skip
        self._last_error = None
        self._count += 1
        self._unsound += not shown.sound
        return shown

    def _check(self, reach: Fraction) -> None:
        """Does what was decoded agree with what the header promised?"""
        if self._count == 0:
            raise Reject(Reason.UNDECODABLE, self._last_error or "the video stream holds no frames")
        recording = self._recording
        if not recording.stream.duration:  # Matroska knows the longest of its streams only
            self._reach = max(self._reach, reach)
        there, promise = self._reach - (recording.begins or 0), recording.promised
        if promise and there < min(DECODED_SHARE * promise, promise - SLACK):
            raise Reject(Reason.TRUNCATED, f"{float(there):.2f} s of {float(promise):.2f} s are there")
        if promise and self._last_error is not None:
            raise Reject(Reason.TRUNCATED, f"the stream ends in an error: {self._last_error}")

    def _following(self) -> Recording | None:
        """The next recording in the file that holds video; None at the end."""
        before = self._recording
        beside = {stream.id for stream in before.container.streams.video if stream.index != before.reading}
        self._refused += before.refused + max(0, self._doubted - (self._count - self._counted))
        self._doubted = 0
        if rest := before.rest():
            with suppress(Reject):  # only sound goes on, or padding
                recording = Recording(self._path, rest, self._min_side)
                if recording.stream.id not in beside:
                    self._doubted = before.useless
                    return recording
        self._refused += before.useless
        while self._others:
            try:
                return Recording(self._path, self._others.pop(0), self._min_side)
            except Reject as reject:
                if reject.reason is not Reason.NO_VIDEO_STREAM:
                    raise
        return None

    def _fields(self) -> str:
        if self._interlaced or self.unmarked_fields():
            return self._first.field_order or "interlaced"
        return "progressive"

    def facts(self) -> MediaFacts:
        """What is known once at least one frame was decoded."""
        recording, first = self._first, self._first_frame
        assert first
        return MediaFacts(
            container=recording.container.format.name,
            codec=recording.stream.codec_context.name,
            pixel_format=first.format.name,
            width=first.width,
            height=first.height,
            rotation=clockwise(first),
            fps=float(recording.rate),
            duration_s=max(self.promised_s, float(self.end)),
            frames=self._count,
            has_audio=bool(recording.container.streams.audio),
            stream=recording.stream.index,
            bit_depth=max(part.bits for part in first.format.components),
            transfer=TRANSFERS.get(first.color_trc, "unknown"),
            primaries=PRIMARIES.get(first.color_primaries, "unknown"),
            matrix=MATRICES.get(first.colorspace, "unknown"),
            alpha=has_alpha(first),
            field_order=self._fields(),
            pixel_aspect=float(recording.pixel_aspect),
            clock_jumps=self._clock.jumps,
            damaged_frames=self._unsound,
            refused_packets=self._refused,
        )


def clockwise(frame: av.VideoFrame) -> int:
    """Degrees to turn the coded frame clockwise for display, to the next quarter turn."""
    return round(-frame.rotation / 90) % 4 * 90
