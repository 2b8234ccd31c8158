"""A folder on any fsspec file system, with writes that are whole or absent.

Local files are written to a temporary name in the same folder, flushed to disk, then renamed, and the folder is synced.
Object stores get one PUT when the block has ended well. Temporary names start with `.tmp-`; `gc` and `verify` know
them.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from tasks.store.places import file_system

TEMPORARY = ".tmp-"


class Folder:
    """Paths below a root, relative and with forward slashes. A path that would leave the root is a ValueError.

    UserError for a URL whose protocol is unknown or not installed.
    """

    def __init__(self, uri: str) -> None:
        self.fs, path = file_system(uri, {})
        self.root = path.rstrip("/")
        self.local = "file" in ([self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol)

    def path(self, name: str) -> str:
        """Full path of `name` on the file system."""
        parts = name.split("/")
        if name.startswith("/") or any(p in ("", ".", "..") or "\0" in p or "\\" in p for p in parts):
            raise ValueError(f"not a name below the folder: {name!r}")
        return f"{self.root}/{name}"

    def below(self, name: str) -> "Folder":
        """The folder `name` below this one."""
        sub = Folder.__new__(Folder)
        sub.fs, sub.root, sub.local = self.fs, self.path(name), self.local
        return sub

    def is_folder(self, name: str) -> bool:
        return bool(self.fs.isdir(self.path(name)))

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def names(self, name: str | None = None) -> list[str]:
        """Sorted names of files and folders directly inside; empty where there is no such folder. Never cached."""
        path = self.path(name) if name else self.root
        if self.local:
            try:
                return sorted(os.listdir(path))
            except FileNotFoundError:
                return []
        self.fs.invalidate_cache(path)
        try:
            return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in self.fs.ls(path, detail=False))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        with self.open(name) as stream:
            data: bytes = stream.read()
        return data

    def open(self, name: str) -> IO[bytes]:
        stream: IO[bytes] = Path(self.path(name)).open("rb") if self.local else self.fs.open(self.path(name), "rb")
        return stream

    def remove(self, name: str) -> None:
        """Remove a file or a whole folder; absent is fine."""
        path = self.path(name)
        if self.local:
            with suppress(FileNotFoundError):
                self.fs.rm(path, recursive=True)
            return
        for file in self.fs.find(path):  # an object store has no folders to remove
            self.fs.rm_file(file)

    def move(self, name: str, to: str) -> None:
        """Give a file another name, replacing what had that."""
        if self.local:
            Path(self.path(name)).replace(self.path(to))
            sync_folder(self.path(to).rpartition("/")[0])
        else:
            self.fs.cp_file(self.path(name), self.path(to))  # `mv` takes brackets in a name for a pattern
            self.fs.rm_file(self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`, whole or not at all, replacing what was there."""
        with self.create(name) as stream:
            stream.write(data)

    @contextmanager
    def create(self, name: str | Callable[[], str], mark: str = "") -> Iterator[IO[bytes]]:
        """A stream that becomes `name` when the block ends well, and leaves nothing when it does not.

        name: one below this folder, or what gives one directly in it when all is written; `mark` then ends the temporary
        name.
        """
        target = self.path(name if isinstance(name, str) else mark)
        folder, _, base = target.rpartition("/")
        if not self.local:
            # Not every fsspec file system can take back what was written to an open file; a file of our own can.
            with tempfile.NamedTemporaryFile() as spool:
                yield cast(IO[bytes], spool)
                spool.flush()
                self.fs.put_file(spool.name, self.path(name if isinstance(name, str) else name()))
            return
        make_folder(Path(folder))
        temporary = Path(folder) / f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{base[-80:]}"
        try:
            with temporary.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(self.path(name if isinstance(name, str) else name()))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Make a local folder and those above it, so that they outlive a power cut as what is put into them does."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        sync_folder(str(path.parent))


def sync_folder(folder: str) -> None:
    """Flush a local folder's entries, so that a rename outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
