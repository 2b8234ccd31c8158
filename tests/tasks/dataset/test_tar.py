"""Tars are read by everyone else's readers, and ours tells a damaged one."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tasks.dataset.tar import LARGEST, RECORD, TarError, TarWriter, header, padded, read_entries

FILES = {"a.txt": b"hello", "a.json": b"", "b.bin": bytes(range(256)) * 2, "c.bin": b"x" * 513}


def written() -> tuple[bytes, TarWriter, dict[str, int]]:
    buffer = io.BytesIO()
    with TarWriter(buffer) as tar:
        offsets = {name: tar.add(name, data) for name, data in FILES.items()}
    return buffer.getvalue(), tar, offsets


def test_python_and_gnu_tar_read_it(tmp_path: Path) -> None:
    data, tar, offsets = written()
    assert (tar.size, tar.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(data) % RECORD == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        members = theirs.getmembers()
        assert {m.name: theirs.extractfile(m).read() for m in members} == FILES
        assert {m.name: m.offset for m in members} == offsets
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
            (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
        }
    (tmp_path / "x.tar").write_bytes(data)
    subprocess.run(["tar", "-xf", "x.tar"], cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


def test_same_as_pythons_own_ustar() -> None:
    theirs = io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert written()[0] == theirs.getvalue()


def test_read_back() -> None:
    data, _, offsets = written()
    entries = list(read_entries(io.BytesIO(data)))
    assert {e.name: e.data for e in entries} == FILES
    assert {e.name: e.offset for e in entries} == offsets
    assert padded(len(FILES["c.bin"])) == 512 + 1024


def test_every_cut_and_every_flipped_header_byte_is_told() -> None:
    data, _, _ = written()
    for end in range(0, len(data), 97):
        with pytest.raises(TarError):
            list(read_entries(io.BytesIO(data[:end])))
    for at in range(0, 512, 3):
        broken = bytearray(data)
        broken[at] ^= 0x21
        with pytest.raises(TarError):
            list(read_entries(io.BytesIO(broken)))
    with pytest.raises(TarError, match="whole record"):
        list(read_entries(io.BytesIO(data + b"more")))


def test_bytes_between_and_after_the_entries_are_zero() -> None:
    """No header tells of them, so nothing else would find what hides there."""
    data, _, offsets = written()
    padding = offsets["a.txt"] + 512 + len(FILES["a.txt"])
    for at, told in ((padding, "padding after a.txt"), (offsets["a.json"] - 1, "padding after a.txt"),
                     (len(data) - 1, "whole record"), (len(data) - RECORD // 2, "whole record")):  # fmt: skip
        broken = bytearray(data)
        broken[at] = 1
        with pytest.raises(TarError, match=told):
            list(read_entries(io.BytesIO(broken)))


def test_a_size_beyond_the_header_is_refused() -> None:
    assert len(header("a.bin", LARGEST)) == 512
    with pytest.raises(ValueError, match="too large for a tar entry"):
        header("a.bin", LARGEST + 1)


def test_a_claimed_size_is_not_believed() -> None:
    with pytest.raises(TarError, match="claims"):
        list(read_entries(io.BytesIO(header("a.bin", LARGEST)), largest=1000))
    with pytest.raises(TarError, match="ends within"):
        list(read_entries(io.BytesIO(header("a.bin", 1000))))


@pytest.mark.parametrize("name", ["", "../a", "/a", "a/b", "a b", "ä.txt", "a" * 101, "a\0", "-a\n"])
def test_names_stay_plain(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        header(name, 1)


def test_an_error_while_writing_leaves_the_thread_ended() -> None:
    class Full(io.BytesIO):
        def write(self, _: bytes) -> int:
            raise OSError(28, "no space left")

    tar = TarWriter(Full())
    with pytest.raises(OSError, match="no space"), tar:
        tar.add("a.txt", b"x")
    assert not tar._hasher.is_alive()
