"""Recordings that were glued together, as by `cat a.mp4 b.mp4`: where in the file each of them lies.

Demuxers stop at the end of the first, or take the second for more of the first. Streams that are made to be joined
(transport and program streams, raw ones, Matroska) are no matter of this module: their demuxers read on.
"""

import io
import os
import re
from collections.abc import Iterator
from itertools import pairwise

Section = tuple[int, int]
"""First byte of a recording, and the one after its last."""

_CHUNK = 1 << 20

_BEGINNINGS = {
    b"FLV\x01": re.compile(rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0"),
    b"\x30\x26\xb2\x75": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", re.DOTALL),
    b"\x06\x0e\x2b\x34": re.compile(rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02", re.DOTALL),
    b"DKIF": re.compile(rb"DKIF\0\0\x20\0"),
    b"YUV4": re.compile(rb"YUV4MPEG2 W[0-9]+ H[0-9]+ "),
}
"""FLV, ASF, MXF, IVF, YUV4MPEG: how a file starts, and what inside of it can only be another start."""

_LONGEST = 64
"""No match of those is longer, in bytes."""


def sections(path: str) -> list[Section]:
    """The recordings in a file, in order; all of the file where it is none of the kinds that can be told apart."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        start = os.pread(file, 12, 0)
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            begins = list(_movies(file, size))
        elif start[:4] == b"RIFF" and start[8:] == b"AVI ":
            begins = list(_avis(file, size))
        elif start[:4] in _BEGINNINGS:
            begins = list(_found(file, _BEGINNINGS[start[:4]]))
        else:
            begins = []
        return list(pairwise([0, *(b for b in begins if b), size]))
    finally:
        os.close(file)


def _found(file: int, beginning: re.Pattern[bytes]) -> Iterator[int]:
    at = 0
    while len(chunk := os.pread(file, _CHUNK + _LONGEST, at)) > _LONGEST:
        yield from (at + m.start() for m in beginning.finditer(chunk) if m.start() < _CHUNK)
        at += _CHUNK


def _avis(file: int, size: int) -> Iterator[int]:
    """A RIFF of type AVI is a recording, those of type AVIX are more of it."""
    at = 0
    while len(head := os.pread(file, 12, at)) == 12 and head[:4] == b"RIFF" and at < size:
        if head[8:] == b"AVI ":
            yield at
        length = int.from_bytes(head[4:8], "little")
        at += 8 + length + length % 2


def _movies(file: int, size: int) -> Iterator[int]:
    """An mp4 or QuickTime file goes on until another file type is followed by another index.

    Fragments (DASH, HLS, CMAF) may each repeat the index before them: they are one recording while it is the same and
    their times rise.
    """
    indices = set[bytes]()
    opens, latest = None, -1
    for kind, at, end in _boxes(file, 0, size):
        if kind == b"ftyp":
            opens = at
        elif kind == b"moov":
            index = os.pread(file, end - at, at)
            fragmented = b"mvex" in index
            if opens and indices and not (fragmented and index in indices):
                yield opens
                indices, latest = set(), -1
            indices.add(index)
        elif kind == b"moof":
            time = _decode_time(os.pread(file, end - at, at))
            if time is not None:
                if opens and time <= latest:
                    yield opens
                opens, latest = None, time


def _boxes(file: int, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte and end of each box of a stretch. Stops at what is none."""
    while len(head := os.pread(file, 16, at)) >= 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or at + length > end:
            return
        yield kind, at, at + length
        at += length


def _decode_time(fragment: bytes) -> int | None:
    """The time of a fragment's first sample, in the unit of its first track."""
    at = fragment.find(b"tfdt")
    if at < 0:
        return None
    length = 8 if fragment[at + 4] else 4
    return int.from_bytes(fragment[at + 8 : at + 8 + length], "big")


class Slice(io.RawIOBase):
    """A section of a file, to be read as a file of its own."""

    def __init__(self, path: str, section: Section) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._first, self._end = section
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end - self._first}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._first - self._at)
        data = os.pread(self._file, left if size < 0 else min(size, left), self._first + self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()
