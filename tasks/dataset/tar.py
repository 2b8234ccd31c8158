"""Tar files that are a pure function of their entries, hashed as they are written; and their strict reading.

The format is plain ustar with fixed header fields (owner 0, time 0, mode 644): python's tarfile, GNU tar, webdataset
and Hugging Face datasets read it. Names are short and ASCII, sizes below 8 GiB, so nothing beyond ustar is needed.
"""

import hashlib
import queue
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
RECORD = 20 * BLOCK
"""Tar files are padded to whole records; GNU tar and python's tarfile write them so."""

LARGEST = 8**11 - 1
"""Bytes of the largest entry whose size fits the header: 11 octal digits."""

_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,99}")
_AHEAD = 16
"""Entries that writing may be ahead of hashing, which bounds the memory held."""


class TarError(Exception):
    """The file is not a tar as `TarWriter` writes it. The message is one line and safe to print."""


@dataclass(frozen=True)
class Entry:
    """One file of a tar. `offset` is where its header begins."""

    name: str
    offset: int
    data: bytes


class TarWriter:
    """Appends entries to a binary stream. Used as a context manager; `sha256` and `size` are valid once it has closed.

    SHA-256 runs in a second thread beside the writing (hashlib lets go of the interpreter), so it costs little time.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._jobs: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._hasher = threading.Thread(target=self._digest, name="sha256", daemon=True)
        self._hasher.start()
        self.size = 0

    def _digest(self) -> None:
        while (data := self._jobs.get()) is not None:
            self._hash.update(data)

    def __enter__(self) -> "TarWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                end = self.size + 2 * BLOCK
                self._put(bytes(2 * BLOCK + -end % RECORD))
        finally:
            self._jobs.put(None)
            self._hasher.join()

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._jobs.put(data)
        self.size += len(data)

    def add(self, name: str, data: bytes) -> int:
        """Append an entry; returns the offset of its header. ValueError for a name or size that ustar cannot hold."""
        offset = self.size
        self._put(header(name, len(data)))
        self._put(data)
        if padding := -len(data) % BLOCK:
            self._put(bytes(padding))
        return offset

    @property
    def sha256(self) -> str:
        """Of everything written, in hex."""
        return self._hash.hexdigest()


def header(name: str, size: int) -> bytes:
    """The 512 bytes before an entry's data."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name for a tar entry: {name!r}")
    if size > LARGEST:
        raise ValueError(f"{name} has {size} bytes: too large for a tar entry")
    head = name.encode().ljust(100, b"\0")
    head += b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % 0
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(32 + 32 + 8 + 8 + 155 + 12)
    checksum = sum(head) + 8 * ord(" ") + sum(tail)
    return head + b"%06o\0 " % checksum + tail


def padded(size: int) -> int:
    """Bytes that an entry with `size` bytes of data takes, header and padding included."""
    return BLOCK + size + -size % BLOCK


def read_entries(stream: IO[bytes], largest: int = 1 << 30) -> Iterator[Entry]:
    """The entries of a tar that `TarWriter` wrote, in order, one in memory at a time.

    Raises TarError at the first byte that `TarWriter` would have written otherwise, and for entries above `largest`
    bytes, so that a damaged or foreign file is told and not half read.
    """
    offset = 0
    while True:
        head = stream.read(BLOCK)
        if len(head) < BLOCK:
            raise TarError(f"ends at byte {offset + len(head)} without an end mark")
        if head == bytes(BLOCK):
            _check_end(stream, offset)
            return
        name, size = parse_header(head, offset)
        if size > largest:
            raise TarError(f"{name} claims {size} bytes, above the limit of {largest}")
        data = stream.read(size)
        padding = stream.read(-size % BLOCK)
        if len(data) < size or len(padding) < -size % BLOCK:
            raise TarError(f"ends within {name}")
        if any(padding):
            raise TarError(f"padding after {name} is not zero")
        yield Entry(name, offset, data)
        offset += padded(size)


def parse_header(head: bytes, offset: int) -> tuple[str, int]:
    """Name and size from the 512 bytes at `offset`. Raises TarError unless `TarWriter` wrote them."""
    try:
        name, size = head[:100].rstrip(b"\0").decode("ascii"), int(head[124:135], 8)
        if header(name, size) != head:
            raise ValueError
    except ValueError:
        raise TarError(f"no valid header at byte {offset}") from None
    return name, size


def _check_end(stream: IO[bytes], offset: int) -> None:
    rest = stream.read(2 * RECORD)
    wanted = BLOCK + -(offset + 2 * BLOCK) % RECORD
    if len(rest) != wanted or any(rest):
        raise TarError(f"end mark at byte {offset} is not followed by zeros up to a whole record")
