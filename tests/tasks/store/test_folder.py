"""Writes that are whole or absent, and names that stay below the folder."""

import pytest

from tasks.errors import UserError
from tasks.store.folder import Folder


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
