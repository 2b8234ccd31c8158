"""A folder on any fsspec file system, with writes that are whole or absent.

Local files are written to a temporary name in the same folder, flushed to disk, then renamed, and the folder is synced.
Object stores get the file when the block has ended well: one PUT, or parts that become one object at the end. Temporary
names start with `.tmp-`; `gc` and `verify` know them. What a file system of elsewhere raises, and how often it is asked
again, tasks/store/trying.py says.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, cast

from tasks.store import exclusive
from tasks.store.listing import walk_local, walk_remote
from tasks.store.places import file_system, without_credentials
from tasks.store.remote import Remote

TEMPORARY = ".tmp-"


class Folder:
    """Paths below a root, relative and with forward slashes. A path that would leave the root is a ValueError.

    UserError for a URL whose protocol is unknown or not installed.
    """

    def __init__(self, uri: str) -> None:
        self.fs, path = file_system(uri, {})
        self.root = path.rstrip("/")
        self.remote = Remote(self.fs)
        self.local = self.remote.kind == "file"
        self.uri = self.root if self.local else without_credentials(uri).rstrip("/")
        """The folder as people know it: a path where it is local, else its URL. Fit for records and messages."""

    def path(self, name: str) -> str:
        """Full path of `name` on the file system."""
        if not is_name(name):
            raise ValueError(f"not a name below the folder: {name!r}")
        return f"{self.root}/{name}"

    def shown(self, name: str) -> str:
        """`name` as people know it, as `uri` is."""
        return f"{self.uri}/{name}"

    def below(self, name: str) -> "Folder":
        """The folder `name` below this one."""
        sub = Folder.__new__(Folder)
        sub.fs, sub.remote, sub.local = self.fs, self.remote, self.local
        sub.root, sub.uri = self.path(name), self.shown(name)
        return sub

    def is_folder(self, name: str) -> bool:
        path = self.path(name)
        return bool(self.fs.isdir(path) if self.local else self.remote.ask("isdir", path))

    def exists(self, name: str) -> bool:
        path = self.path(name)
        return bool(self.fs.exists(path) if self.local else self.remote.ask("exists", path))

    def names(self, name: str | None = None) -> list[str]:
        """Sorted names of files and folders directly inside; empty where there is no such folder. Never cached."""
        path = self.path(name) if name else self.root
        if self.local:
            try:
                return sorted(os.listdir(path))
            except FileNotFoundError:
                return []
        try:
            return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in self.remote.ask("ls", path, detail=False))
        except FileNotFoundError:
            return []

    def walk(self, name: str | None = None) -> Iterator[tuple[str, int]]:
        """(name below that folder, size in bytes) of every file below it, in the order of names; never cached.

        One listing, page by page where the store has pages, and never held whole. Empty where there is no such folder.
        """
        path = self.path(name) if name else self.root
        if self.local:
            yield from walk_local(path)
        else:
            yield from ((below, int(info["size"] or 0)) for below, info in walk_remote(self.remote, path))

    def read(self, name: str) -> bytes:
        path = self.path(name)
        return Path(path).read_bytes() if self.local else self.remote.read(path)

    def open(self, name: str) -> IO[bytes]:
        return Path(self.path(name)).open("rb") if self.local else self.remote.open(self.path(name))

    def remove(self, name: str) -> None:
        """Remove a file or a whole folder; absent is fine."""
        path = self.path(name)
        if self.local:
            with suppress(FileNotFoundError):
                self.fs.rm(path, recursive=True)
            return
        for below, _ in walk_remote(self.remote, path):
            self.remote.ask("rm_file", f"{path}/{below}")
        with suppress(FileNotFoundError):  # where it is no file: an object store has no folders to remove
            self.remote.ask("rm_file", path)

    def move(self, name: str, to: str) -> None:
        """Give a file another name, replacing what had that."""
        if self.local:
            Path(self.path(name)).replace(self.path(to))
            sync_folder(self.path(to).rpartition("/")[0])
        else:
            self.remote.ask("cp_file", self.path(name), self.path(to))  # `mv` takes brackets in a name for a pattern
            self.remote.ask("rm_file", self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`, whole or not at all, replacing what was there."""
        with self.create(name) as stream:
            stream.write(data)

    @cached_property
    def exclusive(self) -> bool:
        """Whether `create_exclusively` and `write_if` can be had here. Stores are tried out, in some requests."""
        return exclusive.possible(self.remote, self.root)

    def create_exclusively(self, name: str, data: bytes) -> bool:
        """Put a file where none of that name is, whole; False where there is one. Of several who try, one succeeds.

        An answer may be lost on its way back, so a file that is there and holds `data` counts as ours: let what several
        write differ. NotImplementedError where the file system has no such write (`exclusive`).
        """
        return self.write_if(name, data, None)

    def write_if(self, name: str, data: bytes, expected: bytes | None) -> bool:
        """Put a file where one that holds `expected` is, or none for None; False where it is otherwise.

        The rest is as with `create_exclusively`. Both are safe against each other, not against `write`.
        """
        path = self.path(name)
        if not self.local:
            return exclusive.write_remote(self.remote, path, data, expected)
        make_folder(Path(path).parent)
        done = exclusive.write_local(Path(path), data, expected, f"{TEMPORARY}{uuid.uuid4().hex[:12]}")
        sync_folder(path.rpartition("/")[0])
        return done

    @contextmanager
    def create(self, name: str | Callable[[], str], mark: str = "") -> Iterator[IO[bytes]]:
        """A stream that becomes `name` when the block ends well, and leaves nothing when it does not.

        name: one below this folder, or what gives one directly in it when all is written; `mark` then ends the
        temporary name.
        """
        target = self.path(name if isinstance(name, str) else mark)
        folder, _, base = target.rpartition("/")
        if not self.local:
            # Not every fsspec file system can take back what was written to an open file; a file of our own can. It
            # has no name, so that a killed process leaves none behind.
            with tempfile.TemporaryFile() as spool:
                yield cast(IO[bytes], spool)
                spool.flush()
                self.remote.put(f"/dev/fd/{spool.fileno()}", self.path(name if isinstance(name, str) else name()))
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


def is_name(name: str) -> bool:
    """Whether it is a name that `Folder` takes: below the folder, relative, with forward slashes."""
    return not any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in name.split("/"))


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
