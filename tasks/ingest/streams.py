"""Which of a file's streams is the video, and how long the file says that it is."""

from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from schemas import Reason
from tasks.errors import Reject

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""What covers and thumbnails are marked with."""

_NO_HEADER = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "ogg"}
"""Streams that may be cut and joined anywhere: their length is a guess from the times at both ends, not a promise."""


_PREVIEW = 4
"""A stream with less than one in so many of the largest one's pixels is a preview."""

_SLIDES = 2
"""A stream of fewer frames a second shows slides or thumbnails."""

_OF_PICTURES = {"mjpeg", "png", "bmp", "webp"}
"""Codecs of covers, in containers that do not count frames."""


def main_video(container: InputContainer, min_side: int) -> VideoStream:
    """The stream to take: a default one before others, then the larger, then the first.

    Where there is another, it is no cover, no thumbnails, no pictures or slides, and no preview: those are marked as
    default too, as an mp4's first track is where its writer does not care. Nor is it one below `min_side` pixels.
    Raises Reject: NO_VIDEO_STREAM, or UNDECODABLE where no decoder fits.
    """
    streams = [s for s in container.streams.video if not Disposition(s.disposition) & _PICTURES]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams}))
        raise Reject(Reason.NO_VIDEO_STREAM, f"the file holds {kinds or 'nothing'} only")
    streams = [s for s in streams if s.codec_context is not None]
    if not streams:
        raise Reject(Reason.UNDECODABLE, "no decoder for the video stream")
    streams = [s for s in streams if _moves(s)] or streams
    largest = max(s.width * s.height for s in streams)
    streams = [s for s in streams if _PREVIEW * s.width * s.height >= largest] or streams
    streams = [s for s in streams if min(s.width, s.height) >= min_side] or streams
    return max(streams, key=lambda s: (_is_default(s), s.width * s.height, -s.index))


def _moves(stream: VideoStream) -> bool:
    uncounted_picture = not stream.frames and stream.codec_context.name in _OF_PICTURES
    slow = stream.average_rate is not None and stream.average_rate < _SLIDES
    return stream.frames != 1 and not uncounted_picture and not slow


def _is_default(stream: VideoStream) -> bool:
    return bool(Disposition(stream.disposition) & Disposition.default)


def promised(container: InputContainer, stream: VideoStream, begins: Fraction) -> Fraction:
    """Seconds of video that the header promises, 0 where it promises nothing. `begins` is the clock at the start.

    Some writers count the duration from zero, others from the start of the clock, and nothing tells them apart: where
    both can be meant it is the shorter.
    """
    if container.format.name in _NO_HEADER:
        return Fraction(0)
    if stream.duration and stream.time_base:
        length = stream.duration * stream.time_base
    else:
        length = Fraction(container.duration or 0, av.time_base)
    return length - begins if 0 < begins < length else length


_SUCCEEDS = 8
"""So many packets of a new stream, and none of the one that is read: the new one has taken over."""


class Successors:
    """Streams that begin where the one that is read ends, as in transport streams joined with other packet IDs.

    What runs beside it, another program or a preview, is no successor.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, list[Packet[Any]]] = {}
        self._beside: set[int] = set()
        self._begun = False

    def still_here(self) -> None:
        """A packet of the stream that is read has come."""
        self._begun = True
        self._beside.update(self._waiting)
        self._waiting = {}

    def offer(self, packet: "Packet[Any]") -> list["Packet[Any]"]:
        """A packet of another video stream. All of that stream's, once it has taken over; else nothing."""
        if not self._begun:
            self._beside.add(packet.stream_index)
        if packet.stream_index in self._beside:
            return []
        kept = self._waiting.setdefault(packet.stream_index, [])
        kept.append(packet)
        if len(kept) < _SUCCEEDS:
            return []
        self._waiting = {}
        return kept
