import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from schemas import Reason, Row, SourceFile, Status
from tasks.errors import UserError
from tasks.scan.stage import Found, ScanSettings, hash_files, list_files
from tasks.store.places import local_path, local_uri, printable, without_credentials
from tests import permissions

SETTINGS = ScanSettings()


def names(folder: Path) -> list[str]:
    return [f.name for f in list_files(str(folder), SETTINGS)]


def put(path: Path, data: bytes = b"video") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_videos_are_listed_by_ending_in_any_case_sorted_without_hidden_ones(tmp_path):
    for name in ("b.mp4", "a/z.MKV", "a/note.txt", ".hidden.mp4", ".trash/c.mp4", "a/.x/d.mp4", "table.csv"):
        put(tmp_path / name)
    found = list(list_files(str(tmp_path), SETTINGS))
    assert [f.name for f in found] == ["a/z.MKV", "b.mp4"]
    assert found[1].uri == str(tmp_path / "b.mp4") and found[1].size_bytes == 5
    assert found[1].version == str((tmp_path / "b.mp4").stat().st_mtime_ns)


def test_a_single_file_can_be_the_source(tmp_path):
    put(tmp_path / "one.mov")
    assert names(tmp_path / "one.mov") == ["one.mov"]


def test_linked_folders_are_listed_once_and_loops_end(tmp_path):
    put(tmp_path / "bucket/z/real.mp4")
    put(tmp_path / "elsewhere/far.mp4")
    (tmp_path / "bucket/a_link").symlink_to("z")
    (tmp_path / "bucket/z/loop").symlink_to("..")
    (tmp_path / "bucket/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "bucket/file.mp4").symlink_to(tmp_path / "elsewhere/far.mp4")
    assert names(tmp_path / "bucket") == ["file.mp4", "out/far.mp4", "z/real.mp4"]


def test_what_is_no_readable_file_is_listed_and_rejected_not_skipped(tmp_path):
    (tmp_path / "lost.mp4").symlink_to("nowhere")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    put(tmp_path / "empty.mp4", b"")
    gone = put(tmp_path / "vanished.mp4")
    found = list(list_files(str(tmp_path), SETTINGS))
    gone.unlink()
    rows = {f.name: r for f, r in zip(found, hash_files(found, SETTINGS), strict=True)}
    assert {n: r.reason for n, r in rows.items()} == {
        "lost.mp4": Reason.UNREADABLE, "self.mp4": Reason.UNREADABLE, "pipe.mp4": Reason.UNREADABLE,
        "empty.mp4": Reason.EMPTY_FILE, "vanished.mp4": Reason.UNREADABLE,
    }  # fmt: skip


LIST_AND_HASH = """
import json, sys
from tasks.scan.stage import ScanSettings, hash_files, list_files
found = list(list_files(sys.argv[1], ScanSettings()))
print(json.dumps([[f.name, row.reason] for f, row in zip(found, hash_files(found, ScanSettings()), strict=True)]))
"""


def test_folder_and_file_without_permission_are_rejected_rows(tmp_path):
    put(tmp_path / "closed/a.mp4").parent.chmod(0)
    put(tmp_path / "b.mp4").chmod(0)
    put(tmp_path / "c.mp4")
    command = [sys.executable, permissions.__file__, sys.executable, "-c", LIST_AND_HASH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    (tmp_path / "closed").chmod(0o700)
    if done.returncode == permissions.UNABLE:
        pytest.skip("this machine does not let root give powers away")
    assert json.loads(done.stdout) == [["b.mp4", "unreadable"], ["c.mp4", None], ["closed", "unreadable"]]


def test_missing_source_and_unknown_protocol_are_the_users_mistake(tmp_path):
    for source in (str(tmp_path / "nowhere"), "memory://nowhere-at-all", "teapot://x/y"):
        with pytest.raises(UserError):
            list_files(source, SETTINGS)


def test_rows_carry_the_digest_and_the_scan_key(tmp_path):
    data = os.urandom(3 << 20)
    put(tmp_path / "a.mp4", data)
    (file,) = list_files(str(tmp_path), SETTINGS)
    (row,) = hash_files([file], SETTINGS)
    assert row.status is Status.ACCEPTED and row.key == file.key
    assert row.payload.digest == hashlib.sha256(data).hexdigest() and row.payload.size_bytes == len(data)


def test_another_version_of_a_file_has_another_key(tmp_path):
    path = put(tmp_path / "a.mp4")
    before = next(list_files(str(tmp_path), SETTINGS)).key
    assert next(list_files(str(tmp_path), SETTINGS)).key == before
    os.utime(path, ns=(0, 12_345))
    assert next(list_files(str(tmp_path), SETTINGS)).key != before


def test_a_file_that_changed_since_it_was_listed_has_no_digest_on_record(tmp_path):
    path = put(tmp_path / "a.mp4", b"first")
    (file,) = list_files(str(tmp_path), SETTINGS)
    put(path, b"other")
    os.utime(path, ns=(0, 12_345))
    (row,) = hash_files([file], SETTINGS)
    assert row.reason is Reason.UNREADABLE and "changed" in row.detail
    assert [r.reason for r in hash_files(list(list_files(str(tmp_path), SETTINGS)), SETTINGS)] == [None]


def test_a_tree_is_listed_in_the_order_of_whole_names_also_through_links(tmp_path):
    for name in ("a.b/x.mp4", "a/y.mp4", "a/b/z.mp4", "a-b.mp4", "b.mp4", "ab/é.mp4", "Z.mp4"):
        put(tmp_path / "raw" / name)
    put(tmp_path / "elsewhere/deep/far.mp4")
    (tmp_path / "elsewhere/deep/back").symlink_to(tmp_path / "raw")
    (tmp_path / "raw/aa").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "raw/zz").symlink_to(tmp_path / "elsewhere/deep")
    (tmp_path / "raw/A").symlink_to("a")
    found = names(tmp_path / "raw")
    assert found == sorted(found)
    assert found == ["Z.mp4", "a-b.mp4", "a.b/x.mp4", "a/b/z.mp4", "a/y.mp4", "aa/deep/far.mp4", "ab/é.mp4", "b.mp4"]


def test_names_that_are_no_text_or_look_like_something_else_are_read_all_the_same(tmp_path):
    strange = [
        b"caf\xe9.mp4",
        b"a <id1> 100%.mp4",
        "\u202eevil.mp4".encode(),
        b"x::y.mp4",
        b"http:__a.mp4",
        b"a\nb.mp4",
    ]
    for name in strange:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    found = list(list_files(str(tmp_path), SETTINGS))
    rows = list(hash_files(found, SETTINGS))
    assert {r.payload.digest for r in rows} == {hashlib.sha256(n).hexdigest() for n in strange}
    for file in found:
        assert file.uri.encode("utf-8") and file.name.encode("utf-8")


def test_remote_listing_matches_a_local_one(tmp_path):
    fs = fsspec.filesystem("memory")
    for name in ("b.mp4", "a/z.MKV", "a/note.txt", ".hidden.mp4", "a/.x/d.mp4", "q?x=1.mp4"):
        fs.pipe(f"/scan-test/{name}", b"video")
    found = list(list_files("memory://scan-test", SETTINGS))
    assert [f.name for f in found] == ["a/z.MKV", "b.mp4", "q?x=1.mp4"]
    assert found[1].uri == "memory://scan-test/b.mp4" and found[1].size_bytes == 5
    rows = list(hash_files(found, SETTINGS))
    assert {r.payload.digest for r in rows} == {hashlib.sha256(b"video").hexdigest()}
    fs.rm("/scan-test/b.mp4")
    assert [r.reason for r in hash_files(found, SETTINGS)] == [None, Reason.UNREADABLE, None]
    fs.rm("/scan-test", recursive=True)


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("https://me:secret@host/a/b.mp4", "https://host/a/b.mp4"),
        ("https://h/b.mp4?X-Amz-Signature=1&X-Amz-Date=2&part=3", "https://h/b.mp4?part=3"),
        ("https://h/b.mp4?sv=1&sig=abc", "https://h/b.mp4"),
        ("s3://key:secret@bucket/a?b.mp4", "s3://bucket/a?b.mp4"),
        ("abfs://box@account.dfs.core.windows.net/a.mp4", "abfs://box@account.dfs.core.windows.net/a.mp4"),
        ("/plain/a@b.mp4", "/plain/a@b.mp4"),
    ],
)
def test_credentials_never_stay_in_a_uri(uri, clean):
    assert without_credentials(uri) == clean


def test_local_uris_lead_back_to_their_file():
    for path in ("/a/b.mp4", os.fsdecode(b"/a/caf\xe9%41.mp4"), "/a/b%20c.mp4"):
        assert local_path(local_uri(path)) == Path(path)
    assert local_path("s3://a/b") is None
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"


def test_keys_are_stable():
    assert Found("/a/b.mp4", "b.mp4", 5, "77").key == hashlib.sha256(b"/a/b.mp4|5|77").hexdigest()[:16]


@pytest.mark.parametrize(
    "name", [b"caf\xe9.mp4", b"caf\xe9", b"\x1b[31m\nred.mp4", "\u202eevil.mp4".encode(), b"\xff" * 250]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "empty", "vanished"])
def test_a_name_that_is_no_text_ends_in_its_own_row(tmp_path, name, kind):
    """Also where the name is all that there is to say, and the row has to be stored."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    if kind == "link":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        put(path / "a.mp4", b"")
    else:
        put(path, b"" if kind == "empty" else b"x")
    found = list(list_files(str(tmp_path), SETTINGS))
    if kind == "vanished":
        path.unlink()
    (row,) = hash_files(found, SETTINGS)
    assert row.status is Status.REJECTED and row.detail and len(row.key) == 16
    assert row.detail.isprintable() and Row[SourceFile].model_validate_json(row.model_dump_json()) == row


def test_errors_about_a_source_whose_name_is_no_text_can_be_printed(tmp_path):
    missing = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(UserError) as error:
        list_files(missing, SETTINGS)
    assert str(error.value).isprintable()
