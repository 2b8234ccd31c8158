"""Writes that are whole or absent, and names that stay below the folder."""

import os
import subprocess
import sys
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tasks.errors import UserError
from tasks.store.folder import TEMPORARY, Folder


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return Folder(str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}-{request.node.name}")


def test_what_is_written_is_read_and_listed(folder):
    folder.write("a/b.txt", b"one")
    folder.write("a/b.txt", b"two")
    assert folder.read("a/b.txt") == b"two"
    assert folder.names("a") == ["b.txt"]
    assert folder.names("nowhere") == []
    assert folder.below("a").exists("b.txt")
    folder.remove("a")
    folder.remove("a")
    assert not folder.exists("a/b.txt")


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(folder):
    folder.write("x/part", b"before")
    with pytest.raises(RuntimeError, match="power"), folder.create("x/part") as stream:
        stream.write(b"half")
        raise RuntimeError("power cut")
    assert folder.read("x/part") == b"before"
    assert folder.names("x") == ["part"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../out", "a/../../b", "a//b", "a/./b", "a\\b", "a\0b"])
def test_names_that_would_leave_the_folder(folder, name):
    with pytest.raises(ValueError, match="not a name below"):
        folder.path(name)


def test_an_unknown_protocol_is_the_users_mistake():
    with pytest.raises(UserError, match="foo://x"):
        Folder("foo://x")


def test_a_name_shows_nothing_until_all_is_written(folder):
    folder.write("x/part", b"before")
    for name, held in (("x/part", b"before"), ("x/new", None)):
        with folder.create(name) as stream:
            stream.write(b"half")
            stream.flush()
            assert (folder.read(name) if folder.exists(name) else None) == held
            assert [n for n in folder.names("x") if not n.startswith(TEMPORARY)] == ["part"]
        assert folder.read(name) == b"half"
    assert folder.names("x") == ["new", "part"]


def test_a_process_killed_in_the_middle_of_a_write_leaves_what_was_there(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write("x/part", b"before")
    code = (
        "import os, sys; from tasks.store.folder import Folder\n"
        "with Folder(sys.argv[1]).create('x/part') as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert folder.read("x/part") == b"before"
    assert [n for n in folder.names("x") if not n.startswith(TEMPORARY)] == ["part"]


@pytest.fixture
def synced(monkeypatch):
    """What was flushed to disk, as (inode, bytes), with the names in the folder `a/b` at that moment."""
    calls = []
    real = os.fsync

    def fsync(handle):
        real(handle)
        at = os.fstat(handle)
        calls.append((at.st_ino, at.st_size, here()))

    def here():
        return [n for n in root.names("a/b") if not n.startswith(TEMPORARY)]

    def watch(folder):
        nonlocal root
        root = folder
        return calls

    root = None
    monkeypatch.setattr(os, "fsync", fsync)
    return watch


def test_what_is_written_outlives_a_power_cut(tmp_path, synced):
    """File first, then its name, then the folders that were made for it."""
    folder = Folder(str(tmp_path))
    calls = synced(folder)
    with folder.create("a/b/c") as stream:
        stream.write(b"twelve bytes")
    inode = {name: (tmp_path / name).stat().st_ino for name in (".", "a", "a/b", "a/b/c")}
    order = [found[0] for found in calls]
    # The entry of each new folder lies in the one above it.
    assert order == [inode["."], inode["a"], inode["a/b/c"], inode["a/b"]]
    assert calls[2][1:] == (12, []), "the bytes are on disk before the name is"
    assert calls[3][2] == ["c"]
    calls.clear()
    folder.write("a/b/c", b"again")
    assert [found[0] for found in calls] == [(tmp_path / "a/b/c").stat().st_ino, inode["a/b"]]
    calls.clear()
    folder.move("a/b/c", "a/b/d")
    assert [(found[0], found[2]) for found in calls] == [(inode["a/b"], ["d"])]


def test_a_file_is_moved_over_another(folder):
    folder.write("x/a", b"one")
    folder.write("x/b", b"two")
    folder.move("x/a", "x/b")
    assert folder.names("x") == ["b"]
    assert folder.read("x/b") == b"one"


class Remembering(MemoryFileSystem):
    """Lists a folder once and then from memory, as the file systems of object stores do."""

    protocol = "remembering"
    listings: ClassVar[dict[str, list[str]]] = {}

    def ls(self, path, detail=True, **options):
        if detail:
            return super().ls(path, detail, **options)
        return self.listings.setdefault(path, super().ls(path, False, **options))

    def invalidate_cache(self, path=None):
        self.listings.pop(path, None)


def test_names_are_never_those_of_an_earlier_look():
    fsspec.register_implementation("remembering", Remembering, clobber=True)
    folder = Folder("remembering://names")
    folder.write("x/a", b"")
    assert folder.names("x") == ["a"]
    folder.write("x/b", b"")
    folder.remove("x/a")
    assert folder.names("x") == ["b"]
