"""Names from outside, whatever is in them: on record as text, and back to the same file."""

import os

import pytest

from tasks.store.folder import Folder
from tasks.store.places import file_system, local_path, local_uri, printable

NAMES = ["a%20b", "q?x", "[x]", "a*b", "x::y", "~x", "~", "s p", "a#b", "{a,b}", "file:x", "a\\b", os.fsdecode(b"\xe9")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [True, False])
def test_a_local_folder_is_the_one_that_is_named(tmp_path, monkeypatch, name, relative):
    monkeypatch.chdir(tmp_path)
    folder = Folder(name if relative else str(tmp_path / name))
    folder.write("below/file", b"here")
    assert (tmp_path / name / "below" / "file").read_bytes() == b"here" and os.listdir(tmp_path) == [name]
    assert folder.names() == ["below"] and folder.below("below").read("file") == b"here"
    folder.remove("below")
    assert folder.names() == []


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_on_record_leads_back(tmp_path, name):
    uri = local_uri(str(tmp_path / name))
    uri.encode()
    assert local_path(uri) == tmp_path / name
    assert file_system(uri, {})[1] == str(tmp_path / name)


def test_any_text_becomes_text_that_records_hold():
    assert printable("a\udce9b") == "a\\xe9b"
    assert printable("\ud83d\udc7fé") == "\\ud83d\\udc7fé"
    assert printable("\udc80\udcff") == "\\x80\\xff", "all bytes that are no UTF-8"
    for code in range(0xD800, 0xE000):
        assert printable(f"x{chr(code)}").isprintable()
    assert printable("plain é 😀") == "plain é 😀"
