"""One container opened: the stream that is taken of it, its packets, and what its header says."""

import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream

from schemas import Reason
from tasks.errors import Reject
from tasks.ingest.parts import Section, Slice
from tasks.ingest.streams import main_video, promised

OPENING = {
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,h264,hevc,ivf,yuv4mpegpipe,nut,gif,dv",
    "protocol_whitelist": "file",
}
"""Demuxers to try. Playlists and the like are left out: they would make the decoder open other files and hosts."""

_DEFAULT_RATE = Fraction(25)

_GUESSED = {"avi", "asf"}
"""Containers with one time a packet, in the order of decoding. With B-frames the time of display is ffmpeg's guess."""

_SPLICED = {"mpeg", "mpegvideo"}
"""Containers that are cut and joined anywhere and do not number their packets, so that a gap may hide a joint."""

_GROWING = {"mpegts", "mpeg"}
"""Containers in which streams may begin anywhere, or change their codec. PyAV passes over what begins after the first
megabytes, where the header was looked for."""

_TAIL = 4 << 10
"""Bytes behind the last packet that was of use. Fewer are the sound that belongs to it, and hold no clip."""

_CONVINCES = 8
"""Packets in a row. Fewer say little: a decoder takes some of another codec's for its own, and refuses damaged ones."""

_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read WebM's second stream of alpha; ffmpeg's own leave it out."""

_ORDERS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
"""AVFieldOrder: which field is shown first."""


class Recording:
    """A container and its main stream."""

    def __init__(self, path: str, section: Section, min_side: int) -> None:
        """Open a section of a file. Raises Reject: UNDECODABLE or NO_VIDEO_STREAM."""
        self.section = section
        whole = section == (0, os.stat(path).st_size)  # noqa: PTH116
        try:
            file = path if whole else Slice(path, section)
            self.container: InputContainer = av.open(file, "r", options=OPENING, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise Reject(Reason.UNDECODABLE, f"no video container: {text_of(error)}") from error
        self.stream = main_video(self.container, min_side)
        codec = self.stream.codec_context
        self._colours = codec.color_trc, codec.color_primaries, codec.colorspace
        self.pixel_aspect = Fraction(self.stream.sample_aspect_ratio or 1)
        """Width of a pixel over its height; 1 where the file says nothing."""
        self.read(self.stream)
        self.spliced = self.container.format.name in _SPLICED
        self.times_are_guessed = self._times_are_guessed()
        self.begins: Fraction | None = None
        """The clock at the start, in seconds, once a header or a packet has told it."""
        if self.stream.start_time is not None and self.stream.time_base:
            self.begins = self.stream.start_time * self.stream.time_base
        self.error: str | None = None
        """What ended the reading before the end."""
        self.refused = 0
        """Packets that the decoder could make nothing of, up to the last one of which it could."""
        self.useless = 0
        """... and since then."""
        self._ends = deque([0], maxlen=_CONVINCES)
        """Where the latest packets end that the decoder took, in bytes."""
        self._good = list[int]()
        """... and those that it took since it refused some."""

    def read(self, stream: VideoStream) -> None:
        """Take this stream's packets from here on."""
        self.reading = stream.index
        self.codec: VideoCodecContext = stream.codec_context
        if stream.metadata.get("alpha_mode") == "1" and self.codec.name in _WITH_ALPHA:
            self.codec = cast(VideoCodecContext, CodecContext.create(_WITH_ALPHA[self.codec.name], "r"))
        if self.codec.is_open:  # it was read before, and its turn has come again
            self.codec.flush_buffers()
        else:
            self.codec.thread_type = "NONE"
            self.codec.thread_count = 1

    def packets(self) -> Iterator["av.Packet[Any]"]:
        """Those of all streams. Where reading fails, `error` says why."""
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.error = text_of(error)
                return
            except IndexError:  # PyAV's, at the end, of a stream that it does not know
                return
            if packet is None:
                return
            if packet.size:  # empty ones only mark the end
                yield packet

    def decode(self, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
        """Frames, in the order of display; None asks for those that are left. Raises av.FFmpegError."""
        try:
            frames = self.codec.decode(packet)
        except av.error.EOFError:
            return []
        except av.FFmpegError:
            self.useless, self._good = self.useless + 1, []
            raise
        if packet is not None:
            latest = self._good[-1] if self._good else self._ends[-1]
            self._good.append((latest if packet.pos is None else packet.pos) + packet.size)
        if not self.useless or len(self._good) >= _CONVINCES:
            self.refused, self.useless = self.refused + self.useless, 0
            self._ends.extend(self._good)
            self._good = []
        for frame in frames:
            self._colour(frame)
        return frames

    def _colour(self, frame: av.VideoFrame) -> None:
        """Say of a frame that says nothing of its colours what the container says (ProRes of telephones)."""
        if frame.color_trc == ColorTrc.UNSPECIFIED and frame.color_primaries == ColorPrimaries.UNSPECIFIED:
            frame.color_trc, frame.color_primaries, frame.colorspace = self._colours

    def rest(self) -> Section | None:
        """What of the section was of no use so far, and may be once it is opened anew."""
        first, end = self.section
        used = self._ends[0] if self.useless else self._ends[-1]
        more = self.useless >= _CONVINCES or end - first - used > _TAIL
        return (first + used, end) if self.container.format.name in _GROWING and used and more else None

    @property
    def promised(self) -> Fraction:
        """Length in seconds as the header has it; 0 where it says nothing."""
        return promised(self.container, self.stream, self.begins or Fraction(0))

    def _times_are_guessed(self) -> bool:
        name = self.container.format.name
        video_for_windows = name.startswith("matroska") and self.codec.codec_tag.strip("\0 ")
        return name in _GUESSED or bool(video_for_windows)

    @property
    def rate(self) -> Fraction:
        """Average frame rate in 1/s by the header."""
        return Fraction(self.stream.average_rate or self.stream.guessed_rate or _DEFAULT_RATE)

    @property
    def tick(self) -> Fraction:
        """The container's unit of time in seconds: times are rounded to it."""
        return Fraction(self.stream.time_base or Fraction(1, 1000))

    @property
    def field_order(self) -> str | None:
        """By the stream: "tff", "bff", or None where it is progressive or unknown."""
        return _ORDERS.get(self.codec.field_order)


def text_of(error: Exception) -> str:
    """What to say of it, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:200]
