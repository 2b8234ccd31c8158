"""Writes that are whole or absent, and names that stay below the folder."""

import os
import subprocess
import sys
import threading
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


def test_a_walk_gives_everything_below_in_the_order_of_names(folder):
    names = ["a.mp4", "a/b", "a/b/c/d", "a/z", "aa", "Z", "é", "a b/c"]
    assert list(folder.walk()) == [] == list(folder.walk("a"))
    for number, name in enumerate(names):
        if name != "a/b":  # an object store may have a file and a folder of one name, a disk may not
            folder.write(name, b"x" * number)
    folder.write("a/b.txt", b"four")
    found = list(folder.walk())
    assert found == sorted(found) and len(found) == len(names)
    assert dict(found)["a b/c"] == 7 and dict(found)["a.mp4"] == 0
    assert list(folder.walk("a")) == [("b.txt", 4), ("b/c/d", 2), ("z", 3)]
    folder.remove("a")
    assert [name for name, _ in folder.walk()] == ["Z", "a b/c", "a.mp4", "aa", "é"]


def test_a_folder_is_shown_as_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Folder("out").below("x").uri == str(tmp_path / "out/x")
    assert Folder("memory://box/out/").below("x").uri == "memory://box/out/x"
    assert Folder("memory://box/out").shown("x/report.html") == "memory://box/out/x/report.html"


def test_a_file_is_created_by_one_of_many_who_try(folder):
    assert folder.exclusive
    barrier, won = threading.Barrier(8), list[int]()

    def create(number: int) -> None:
        barrier.wait()
        if folder.create_exclusively("x/lease", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert folder.read("x/lease") == b"%d" % winner and folder.names("x") == ["lease"]


def test_a_file_is_replaced_where_it_is_the_one_that_was_seen(folder):
    assert not folder.write_if("x/lease", b"two", b"one") and not folder.exists("x/lease")
    assert folder.write_if("x/lease", b"one", None)
    assert not folder.write_if("x/lease", b"two", None)
    assert not folder.write_if("x/lease", b"two", b"other")
    assert folder.read("x/lease") == b"one"
    assert folder.write_if("x/lease", b"two", b"one")
    assert folder.read("x/lease") == b"two" and folder.names("x") == ["lease"]


COUNTING = """
import sys
from tasks.store.folder import Folder
folder = Folder(sys.argv[1])
for _ in range(40):
    while not folder.write_if("count", b"%d" % (int(seen := folder.read("count")) + 1), seen):
        pass
"""


def test_no_count_is_lost_between_processes(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write("count", b"0")
    command = [sys.executable, "-c", COUNTING, str(tmp_path)]
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert folder.read("count") == b"120" and folder.names() == ["count"]


class Plain(MemoryFileSystem):
    """One that knows no conditions."""

    protocol = "plain"


def test_where_there_are_no_conditions_none_are_feigned():
    fsspec.register_implementation("plain", Plain, clobber=True)
    folder = Folder("plain://box")
    assert not folder.exclusive
    with pytest.raises(NotImplementedError, match="plain://"):
        folder.create_exclusively("lease", b"")


def test_the_web_is_read_and_never_written_to():
    """Nobody is asked, and nothing sent."""
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/out/a: nothing is written to the web: give a folder"):
        Folder("http://127.0.0.1:9/out").write("a", b"x")


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
