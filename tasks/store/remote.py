"""A file system that is not this machine's, behind fsspec: S3, Google, Azure, the web, and memory for tests.

Nothing is cached: other processes write to the same folders. Calls are made again and failures told as
tasks/store/trying.py says. What the kinds do differently is in this file and in tasks/store/exclusive.py alone.
"""

import errno
import io
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any, cast

from tasks.errors import UserError
from tasks.store.trying import BrokenOffError, ChangedError, forbidden_without_a_word, passes, told, tried

BLOCK = 8 << 20
"""Bytes fetched at once for a stream, and of a part of a large upload (some stores want at least 5 MiB)."""

PIECE = 1 << 20
"""Bytes handed on at once."""

LISTING = ("s3", "gs", "az", "http")
"""Kinds that remember what they listed, unless they are opened with UNCACHED."""

UNCACHED = {"use_listings_cache": False}

_KINDS = {
    "file": "file", "local": "file", "memory": "memory", "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az",
    "abfs": "az", "abfss": "az", "adl": "az", "http": "http", "https": "http",
}  # fmt: skip

_PUT_OPTIONS: dict[str, dict[str, int]] = {
    "s3": {"chunksize": BLOCK, "max_concurrency": 4},
    "gs": {"chunksize": BLOCK},
    "az": {"max_concurrency": 4},
}
"""How a large file goes up: in parts, few of them in memory."""

_GET_OPTIONS: dict[str, dict[str, int]] = {"s3": {"max_concurrency": 1}}
"""How a small file comes down: s3fs would ask for its size first, to fetch it in parts."""

_VERSION_FIELDS = (
    "ETag", "etag", "md5Hash", "content_md5", "generation", "LastModified", "Last-Modified", "last_modified", "mtime",
    "created",
)  # fmt: skip
"""Where fsspec file systems put what changes with a file's content, best first."""


_COMPARED = frozenset({"s3", "gs", "az", "http", "memory"})
"""Kinds whose listing and whose look at one file tell the same version."""


def kind_of(protocol: str) -> str:
    """The kind of a protocol: file, memory, s3, gs, az, http, or its own name."""
    return _KINDS.get(protocol, protocol)


def version_of(info: dict[str, Any]) -> str:
    """What changes with a file's content, as its store tells it; empty where it tells nothing."""
    told = next((info[field] for field in _VERSION_FIELDS if info.get(field)), "")
    return str(told.timestamp() if isinstance(told, datetime) else told).strip('"')


class Remote:
    """One file system of fsspec. Paths are its own, as it gives them. Raises as tasks/store/trying.py says."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self.kind = kind_of(fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0])
        if self.kind == "s3":
            fs.retries = 2  # botocore tries on its own below this, and `tried` above it

    def shown(self, path: str) -> str:
        """A path as people know it. It holds no credentials: no path of ours has any."""
        return str(self.fs.unstrip_protocol(path))

    def ask(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        """Call a method of the file system that takes a path; harmless to repeat."""
        self.fs.invalidate_cache(path)  # those that cannot be opened uncached
        return tried(self.shown(path), lambda: self._ask(method, path, *args, **options), self.renew)

    def _ask(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        try:
            return getattr(self.fs, method)(path, *args, **options)
        except OSError as error:
            if method in ("open", "info", "exists", "isfile", "isdir") and forbidden_without_a_word(error):
                self.fs.cat_file(path, start=0, end=1)  # raises with the reason, if there is one
            raise

    def renew(self) -> None:
        """Look for credentials anew: a file of theirs may have been written again since the first look."""
        if self.kind == "s3":
            self.fs.connect(refresh=True)

    def info(self, path: str) -> dict[str, Any]:
        """What the file system says of a path. FileNotFoundError where there is nothing."""
        found: dict[str, Any] = self.ask("info", path)
        return found

    def read(self, path: str) -> bytes:
        """A whole small file, in one request where the store lets us."""
        data: bytes = self.ask("cat_file", path, **_GET_OPTIONS.get(self.kind, {}))
        return data

    def open(self, path: str, version: str | None = None, whole: bool = False) -> IO[bytes]:
        """A file for reading. version: what it must still be, else ChangedError. whole: from its start to its end only.

        Many servers of the web know no ranges: read whole, a file comes in one answer.
        """
        opened = self.ask("open", path, "rb", block_size=0 if whole and self.kind == "http" else BLOCK)
        if version and self.kind in _COMPARED:
            now = version_of(getattr(opened, "details", None) or self.info(path))
            if now and now != version:
                opened.close()
                raise ChangedError(self.shown(path))
        return cast(IO[bytes], io.BufferedReader(_Stream(self, path, opened), 1 << 16))

    def put(self, source: str, path: str) -> None:
        """Put a local file there, whole or not at all, in parts where it is large. UserError for the web."""
        if self.kind == "http":  # fsspec would send it to whatever takes a POST there
            raise UserError(f"{self.shown(path)}: nothing is written to the web: give a folder or a bucket as --out")
        options = _PUT_OPTIONS.get(self.kind, {})
        try:
            tried(self.shown(path), lambda: self.fs.put_file(source, path, **options), self.renew)
        except FileNotFoundError:  # which says nothing of the file that was to be written
            raise OSError(errno.ENODEV, "there is no such bucket", self.shown(path)) from None

    def fetch(self, path: str, size: int | None = None, version: str | None = None) -> Iterator[bytes]:
        """The whole file, piece by piece. ChangedError where it is not, or no more, of that size and version.

        BrokenOffError where a server of the web broke off, of which the file must be fetched from its start again.
        """
        with self.open(path, version, whole=True) as stream:
            got = 0
            while piece := stream.read(PIECE):
                got += len(piece)
                if size is not None and got > size:  # an object that grows must not fill the disk
                    raise ChangedError(self.shown(path))
                yield piece
        # S3 is asked for that version in each request; the others may have changed on the way.
        late = version and self.kind in _COMPARED - {"s3"} and version_of(self.info(path)) != version
        if late or (size is not None and got != size):
            raise ChangedError(self.shown(path))


class _Stream(io.RawIOBase):
    """A file opened by fsspec. A read that fails is made again from the same place, and an early end is no end."""

    def __init__(self, remote: Remote, path: str, opened: Any) -> None:
        self._remote, self._path, self._opened = remote, path, opened
        self._size: int | None = getattr(opened, "size", None)
        self._once = self._size is None and remote.kind == "http"
        """The one answer of a server that knows no ranges, which cannot be asked for what is missing of it."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return not self._once

    def tell(self) -> int:
        return int(self._opened.tell())

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return int(self._opened.seek(place, whence))

    def readinto(self, buffer: Any) -> int:
        shown = self._remote.shown(self._path)
        if self._once:
            try:
                data = self._opened.read(len(buffer))
            except Exception as error:  # of the library, as in `tried`
                raise (BrokenOffError(shown) if passes(error) else told(shown, error)) from error
        else:
            data = tried(shown, lambda: self._piece(len(buffer), shown), self._remote.renew)
        buffer[: len(data)] = data
        return len(data)

    def _piece(self, size: int, shown: str) -> bytes:
        data: bytes = self._opened.read(size)
        if not data and self._size is not None and self._opened.tell() < self._size:
            raise BrokenOffError(shown, f"it ends after {self._opened.tell()} of {self._size} bytes")
        return data

    def close(self) -> None:
        if not self.closed:
            self._opened.close()
        super().close()
