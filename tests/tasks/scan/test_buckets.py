"""Scan over an S3 server and over the web: every object ends as a row, or is left to the next run. No wrong digest."""

import hashlib
import os
import tracemalloc
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from schemas import Reason, Status
from tasks.errors import InfrastructureError, StopRun, UserError
from tasks.scan.stage import ScanSettings, hash_files, list_files
from tasks.store import listing
from tests.buckets import Fault, Proxy

MB = 1 << 20


@pytest.fixture
def settings(tmp_path):
    return ScanSettings(spool_folder=str(tmp_path / "spool"), spool_mb=64)


def listed(source, settings):
    return list(list_files(source, settings))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_bucket_is_listed_like_a_folder_and_each_object_is_fetched_once(bucket, settings, tmp_path):
    plain = ["b.mp4", "a/z.MKV", "a.b/c.mp4", "a/note.txt", ".hidden.mp4", "a/.x/d.mp4"]
    names = [*plain, "q?x=1.mp4", "é [1]*.mp4", "a/x y+z%20.mp4"]
    data = {name: os.urandom(1000 + len(name)) for name in names}
    for name, content in data.items():
        bucket.put(f"raw/{name}", content)
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    bucket.put("raw/empty/", b"")
    found = listed(f"{bucket.url}/raw", settings)
    assert [f.name for f in found] == [f.name for f in listed(str(tmp_path / "raw"), settings)]
    assert found[0].uri == f"{bucket.url}/raw/a.b/c.mp4"
    bucket.proxy.seen.clear()
    rows = list(hash_files(found, settings))
    assert {f.name: r.payload.digest for f, r in zip(found, rows, strict=True)} == {
        f.name: sha(data[f.name]) for f in found
    }
    assert bucket.proxy.count("GET", "/raw/") == len(found)
    assert {p.name for p in (tmp_path / "spool").iterdir()} == {".lock", *(r.payload.digest for r in rows)}


def test_another_version_is_another_key_by_etag_and_the_same_is_not(bucket, settings):
    bucket.put("raw/a.mp4", b"one")
    before = listed(f"{bucket.url}/raw", settings)[0].key
    bucket.put("raw/a.mp4", b"one")
    assert listed(f"{bucket.url}/raw", settings)[0].key == before
    bucket.put("raw/a.mp4", b"two")
    assert listed(f"{bucket.url}/raw", settings)[0].key != before


@pytest.mark.parametrize("key", ["raw/one.mp4", "raw/one.weird"])
def test_one_object_can_be_the_source(bucket, settings, key):
    (found,) = listed(bucket.put(key, b"x"), settings)
    assert found.uri == f"{bucket.url}/{key}" and found.name == key.removeprefix("raw/")


def test_a_source_that_is_not_there_is_the_users_mistake(bucket, settings):
    for source in (f"{bucket.url}/nothing", "s3://no-such-bucket-at-all/x", "s3://no-such-bucket-at-all"):
        with pytest.raises(UserError, match="does not exist"):
            list_files(source, settings)
    bucket.put("raw/a.mp4", b"x")
    bucket.proxy.faults = [Fault("denied", "GET", "list-type", times=10**9)]
    with pytest.raises(UserError, match="no permission"):
        list_files(f"{bucket.url}/raw", settings)


@pytest.mark.parametrize("kind", ["slow_down", "error_500", "reset", "cut", "short", "silence"])
def test_what_passes_costs_nothing_but_time(bucket, settings, kind, monkeypatch):
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 1)
    data = os.urandom(MB)
    bucket.put("raw/a.mp4", data)
    if kind != "short":
        bucket.proxy.faults = [Fault(kind, "GET", "list-type")]
    (found,) = listed(f"{bucket.url}/raw", settings)
    bucket.proxy.faults = [Fault(kind, "GET", "a.mp4", times=2)]
    (row,) = hash_files([found], settings)
    assert row.payload.digest == sha(data) and row.payload.size_bytes == len(data)


@pytest.mark.parametrize("kind", ["slow_down", "cut", "expired"])
def test_what_does_not_pass_leaves_the_file_pending_and_nothing_behind(bucket, settings, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.store.trying.TRIES", 2)
    bucket.put("raw/a.mp4", os.urandom(20 * MB))
    found = listed(f"{bucket.url}/raw", settings)
    bucket.proxy.faults = [Fault(kind, "GET", "a.mp4", times=10**9, after=1)]
    with pytest.raises(StopRun if kind == "expired" else InfrastructureError) as error:
        list(hash_files(found, settings))
    assert "\n" not in str(error.value) and f"{bucket.url}/raw/a.mp4" in str(error.value)
    assert [p.name for p in (tmp_path / "spool").iterdir()] == [".lock"]


def test_an_object_that_changes_or_vanishes_has_no_digest_on_record(bucket, settings, tmp_path):
    names = [f"{what}.mp4" for what in ("before", "between", "grown", "gone", "removed", "stays")]
    for name in names:
        bucket.put(f"raw/{name}", os.urandom(17 * MB if name in ("between.mp4", "removed.mp4") else 1000))
    found = listed(f"{bucket.url}/raw", settings)
    bucket.put("raw/before.mp4", os.urandom(1000))
    bucket.put("raw/grown.mp4", os.urandom(2000))
    bucket.fs.rm_file(f"{bucket.url}/raw/gone.mp4")
    bucket.proxy.faults = [
        Fault("other", "GET", "between.mp4", after=1, do=lambda: bucket.put("raw/between.mp4", os.urandom(17 * MB))),
        Fault("other", "GET", "removed.mp4", after=1, do=lambda: bucket.fs.rm_file(f"{bucket.url}/raw/removed.mp4")),
    ]
    rows = {f.name: r for f, r in zip(found, hash_files(found, settings), strict=True)}
    assert {name for name, row in rows.items() if row.reason is None} == {"stays.mp4"}
    assert {row.reason for row in rows.values()} == {None, Reason.UNREADABLE}
    assert "changed" in rows["between.mp4"].detail and "gone" in rows["removed.mp4"].detail
    assert len(list((tmp_path / "spool").iterdir())) == 2
    again = listed(f"{bucket.url}/raw", settings)
    assert [r.status for r in hash_files(again, settings)] == [Status.ACCEPTED] * 4


def test_an_object_that_may_not_be_read_is_a_row(bucket, settings):
    bucket.put("raw/a.mp4", b"x")
    bucket.put("raw/b.mp4", b"")
    found = listed(f"{bucket.url}/raw", settings)
    bucket.proxy.faults = [Fault("denied", method, "a.mp4", times=10**9) for method in ("GET", "HEAD")]
    assert [r.reason for r in hash_files(found, settings)] == [Reason.UNREADABLE, Reason.EMPTY_FILE]


def test_a_spool_without_room_costs_a_copy_and_no_row(bucket, settings, tmp_path):
    bucket.put("raw/a.mp4", os.urandom(2 * MB))
    small = settings.model_copy(update={"spool_mb": 1})
    (row,) = hash_files(listed(f"{bucket.url}/raw", small), small)
    assert row.status is Status.ACCEPTED and [p.name for p in (tmp_path / "spool").iterdir()] == [".lock"]


def test_an_error_of_our_own_is_not_taken_for_the_buckets(bucket, settings, monkeypatch):
    bucket.put("raw/a", b"\0\0\0\x18ftypmp42" + bytes(100))
    found = listed(f"{bucket.url}/raw", settings)
    monkeypatch.setattr("tasks.scan.stage.starts_like_a_video", lambda _: 1 / 0)
    (row,) = hash_files(found, settings)
    assert row.status is Status.FAILED and "ZeroDivisionError" in row.detail


def test_a_listing_is_never_held(bucket, settings, monkeypatch):
    """Pages that a server makes as they are asked for: 100 000 objects."""

    def page(fs, bucket, prefix, token):
        first = int(token or 0)
        made = [(f"{prefix}{n:07d}.mp4", {"size": n, "ETag": f'"{n:032x}"'}) for n in range(first, first + 1000)]
        return made, str(first + 1000) if first + 1000 < 100_000 else None

    monkeypatch.setitem(listing._PAGES, "s3", page)
    found = list_files(f"{bucket.url}/raw", settings)
    next(found)
    tracemalloc.start()
    assert sum(1 for _ in found) == 99_999
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * MB


@pytest.fixture
def web(tmp_path):
    """A server of files that knows no ranges, behind a proxy; its folder and the proxy."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
    yield folder, proxy
    proxy.close()
    server.shutdown()
    server.server_close()


def test_a_page_of_links_is_a_source_and_large_files_come_in_one_answer(web, settings, tmp_path):
    folder, proxy = web
    data = os.urandom(20 * MB)
    (folder / "raw/sub").mkdir(parents=True)
    (folder / "raw/big.mp4").write_bytes(data)
    (folder / "raw/sub/b c.mp4").write_bytes(b"small")
    (folder / "raw/note.txt").write_bytes(b"text")
    found = listed(f"{proxy.url}/raw/", settings)
    assert [f.size_bytes for f in found] == [len(data), 5]
    proxy.seen.clear()
    rows = list(hash_files(found, settings))
    assert [r.payload.digest for r in rows] == [sha(data), sha(b"small")]
    assert proxy.count("GET", "big.mp4") == 1
    (one,) = listed(f"{proxy.url}/raw/big.mp4", settings)
    assert one.name == "big.mp4" and one.version == found[0].version


@pytest.mark.parametrize("kind", ["slow_down", "error_500", "reset", "cut"])
def test_the_web_too_is_tried_again(web, settings, kind, monkeypatch):
    monkeypatch.setattr("tasks.store.trying.FIRST_WAIT_S", 0.01)
    folder, proxy = web
    (folder / "a.mp4").write_bytes(data := os.urandom(3 * MB))
    found = listed(f"{proxy.url}/a.mp4", settings)
    proxy.faults = [Fault(kind, "GET", "a.mp4", times=2), *(Fault(kind, "HEAD", "a.mp4") for _ in range(kind != "cut"))]
    (row,) = hash_files(found, settings)
    assert row.payload.digest == sha(data)
    proxy.faults = [Fault(kind, "GET", "a.mp4", times=10**9)]
    with pytest.raises(InfrastructureError):
        list(hash_files(found, settings))


def test_what_has_changed_or_gone_on_the_web(web, settings, monkeypatch):
    monkeypatch.setattr("tasks.store.trying.FIRST_WAIT_S", 0.01)
    folder, proxy = web
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (10**9, 10**9))
    found = listed(f"{proxy.url}/", settings)
    (folder / "a.mp4").write_bytes(b"y" * 100)
    (folder / "b.mp4").unlink()
    assert [r.reason for r in hash_files(found, settings)] == [Reason.UNREADABLE, Reason.UNREADABLE, None]
