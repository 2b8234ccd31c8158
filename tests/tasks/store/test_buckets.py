"""The store on a real S3 server, with what networks and servers do to requests on the way."""

import os
import sys
import threading
import time

import pytest

from tasks.errors import InfrastructureError, StopRun, UserError
from tasks.outcome import of_the_world
from tasks.store.folder import TEMPORARY, Folder
from tests.buckets import Fault

MB = 1 << 20


@pytest.fixture
def folder(bucket):
    return Folder(f"{bucket.url}/out")


def test_what_is_written_is_read_listed_moved_and_removed(bucket, folder):
    data = os.urandom(20 * MB)
    folder.write("a/b/big", data)
    folder.write("a/[q] ?x%20é", b"odd")
    folder.write("a.txt", b"")
    assert list(folder.walk()) == [("a.txt", 0), ("a/[q] ?x%20é", 3), ("a/b/big", len(data))]
    assert folder.names() == ["a", "a.txt"] and folder.names("a") == ["[q] ?x%20é", "b"] and folder.names("no") == []
    assert folder.is_folder("a") and folder.exists("a.txt") and not folder.exists("a/c")
    with folder.open("a/b/big") as stream:
        stream.seek(-7, os.SEEK_END)
        assert stream.read() == data[-7:]
        stream.seek(9 * MB - 3)
        assert stream.read(10) == data[9 * MB - 3 : 9 * MB + 7]
    folder.move("a/b/big", "c/[big]")
    assert folder.read("c/[big]") == data
    folder.remove("a")
    assert [name for name, _ in folder.walk()] == ["a.txt", "c/[big]"]
    assert bucket.proxy.count("POST", "?uploads") > 0, "a large file goes up in parts"
    assert folder.uri == f"{bucket.url}/out" and folder.below("x").uri == f"{bucket.url}/out/x"


def test_a_small_file_is_read_in_one_request(bucket, folder):
    folder.write("x", b"1")
    bucket.proxy.seen.clear()
    assert folder.read("x") == b"1" and len(bucket.proxy.seen) == 1


def test_names_are_those_of_now_whoever_wrote_them(bucket, folder):
    assert not folder.exists("x/a") and folder.names("x") == []
    bucket.put("out/x/a", b"")
    assert folder.exists("x/a") and folder.names("x") == ["a"]
    bucket.fs.rm_file(f"{bucket.url}/out/x/a")
    assert not folder.exists("x/a") and folder.names("x") == []


def test_more_objects_than_a_page_are_listed_each_once_and_in_order(bucket, folder, monkeypatch):
    monkeypatch.setattr("tasks.store.listing.PAGE", 25)
    names = [f"{n:02d}{'/x' if n % 3 else '.x'}" for n in range(49)]
    root = f"{bucket.url}/out"
    bucket.fs.pipe({f"{root}/{name}": b"1" for name in names})
    bucket.put("out/empty/", b"")
    bucket.put("outside", b"")
    bucket.proxy.seen.clear()
    assert [name for name, _ in folder.walk()] == sorted(names)
    assert bucket.proxy.count("GET", "list-type=2") == 2


def test_one_of_many_creates_a_file_and_one_replaces_it(folder):
    assert folder.exclusive
    assert folder.names() == [], "trying it out leaves nothing"
    barrier, won = threading.Barrier(8), list[bytes]()

    def create(data: bytes) -> None:
        barrier.wait()
        if folder.create_exclusively("lease", data):
            won.append(data)

    threads = [threading.Thread(target=create, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [folder.read("lease")] == won
    assert not folder.write_if("lease", b"x", b"other") and not folder.write_if("no", b"x", b"other")
    assert folder.write_if("lease", b"x", won[0]) and not folder.write_if("lease", b"y", won[0])
    assert folder.read("lease") == b"x"


def test_a_server_that_passes_over_conditions_is_found_out(bucket, folder, monkeypatch):
    def without(self, body, kind):
        for header in ("If-Match", "If-None-Match"):
            del self.headers[header]
        return forward(self, body, kind)

    handler = bucket.proxy.server.RequestHandlerClass
    forward = handler._forward
    monkeypatch.setattr(handler, "_forward", without)
    assert not folder.exclusive and folder.names() == []


def test_a_file_replaced_between_look_and_write_is_left_alone(bucket, folder):
    folder.write("lease", b"seen")
    bucket.proxy.faults = [Fault("other", "PUT", do=lambda: bucket.put("out/lease", b"theirs"))]
    assert not folder.write_if("lease", b"ours", b"seen")
    assert folder.read("lease") == b"theirs"


def test_a_write_whose_answer_was_lost_counts_as_done(bucket, folder):
    done = []

    def late(data: bytes) -> None:
        done.append(bucket.put("out/lease", data))

    bucket.proxy.faults = [Fault("error_500", "PUT", times=1), Fault("other", "PUT", do=lambda: late(b"ours"))]
    assert folder.create_exclusively("lease", b"ours") and done
    bucket.proxy.faults = [Fault("other", "PUT", do=lambda: late(b"theirs"))]
    folder.remove("lease")
    assert not folder.create_exclusively("lease", b"ours") and folder.read("lease") == b"theirs"
    back = Fault("other", "GET", "out/lease", do=lambda: bucket.fs.rm_file(f"{bucket.url}/out/lease"))
    bucket.proxy.faults = [back]
    assert not folder.create_exclusively("lease", b"ours") and not back.times, "given back as it was looked at"


PASSING = ["slow_down", "error_500", "reset", "cut", "silence"]


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_tried_again(bucket, folder, kind, monkeypatch):
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 1)
    data = os.urandom(MB)
    bucket.put("out/x", data)
    bucket.proxy.faults = [Fault(kind, "GET", "out/x", times=2, after=n) for n in range(2)]
    bucket.proxy.faults.append(Fault(kind, "GET", "list-type"))
    with folder.open("x") as stream:
        assert stream.read() == data
    assert folder.read("x") == data
    assert list(folder.walk()) == [("x", len(data))]
    if kind != "cut":  # which is of bodies that come down
        bucket.proxy.faults = [Fault(kind, "PUT", "out/y", times=3, after=1)]
        folder.write("y", data * 17)
        assert folder.read("y") == data * 17
    assert not any(fault.times for fault in bucket.proxy.faults), "all of it happened"


def test_a_body_that_is_less_than_the_file_is_no_end_of_it(bucket, folder):
    """Whole by its own account: a range of which a part came."""
    data = os.urandom(3 * MB)
    bucket.put("out/x", data)
    bucket.proxy.faults = [Fault("short", "GET", "out/x", times=3)]
    with folder.open("x") as stream:
        assert stream.read() == data


@pytest.mark.parametrize("kind", ["slow_down", "reset", "cut"])
def test_what_does_not_pass_is_the_worlds_in_one_line(bucket, folder, kind, monkeypatch):
    monkeypatch.setattr("tasks.store.trying.TRIES", 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bucket.put("out/x", os.urandom(1000))
    bucket.proxy.faults = [Fault(kind, method, "", times=10**9) for method in ("GET", "PUT", "HEAD", "POST")]
    for look in (
        lambda: folder.read("x"), lambda: folder.names(), lambda: list(folder.walk()), lambda: folder.write("y", b"1"),
        lambda: folder.create_exclusively("z", b"1"), lambda: folder.move("x", "y"), lambda: folder.remove("x"),
    ):  # fmt: skip
        if kind == "cut" and look.__code__.co_names[0] in ("write", "create_exclusively", "move", "remove"):
            continue
        with pytest.raises(InfrastructureError) as error:
            look()
        assert "\n" not in str(error.value) and "s3://" in str(error.value)
    bucket.proxy.faults = []
    assert [name for name, _ in folder.walk()] == ["x"], "nothing half-written is left"


def test_an_upload_that_breaks_off_leaves_what_was_there(bucket, folder):
    folder.write("x", b"before")
    bucket.proxy.faults = [Fault("error_500", "PUT", "out/x", times=10**9, after=2)]
    with pytest.raises(InfrastructureError):
        folder.write("x", bytes(25 * MB))
    assert folder.read("x") == b"before" and [name for name, _ in folder.walk()] == ["x"]
    with pytest.raises(RuntimeError, match="power"), folder.create("x") as stream:
        stream.write(b"half")
        raise RuntimeError("power cut")
    assert folder.read("x") == b"before"
    assert not [name for name, _ in folder.walk() if TEMPORARY in name]


def test_an_upload_whose_end_was_answered_into_the_void_is_made_again(bucket, folder, monkeypatch):
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 1)
    data = os.urandom(17 * MB)
    bucket.proxy.faults = [Fault("unheard", "POST", "uploadId")]
    folder.write("x", data)
    assert folder.read("x") == data and not bucket.proxy.faults[0].times


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_expired_credentials_stop_the_run(bucket, folder, method):
    bucket.put("out/x", os.urandom(9 * MB))
    bucket.proxy.faults = [Fault("expired", "GET", times=10**9)]
    if method == "HEAD":  # whose answers have no body that could say why
        bucket.proxy.faults.append(Fault("expired", "HEAD", times=10**9))
    with pytest.raises(StopRun, match="credentials") as error:
        folder.read("x")
    assert "\n" not in str(error.value)


def test_renewed_credentials_are_taken_up_half_way(bucket, folder, tmp_path, monkeypatch):
    """They lie in a file that something else keeps fresh, as `aws sso login` does."""
    file = tmp_path / "credentials"
    write = "[default]\naws_access_key_id = {}\naws_secret_access_key = s\n"
    file.write_text(write.format("old"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    data = os.urandom(20 * MB)
    bucket.put("out/x", data)
    renewed = Fault("expired", "GET", "out/x", after=1)
    bucket.proxy.faults = [renewed]
    with folder.open("x") as stream:
        begin = stream.read(MB)
        file.write_text(write.format("new"))
        assert begin + stream.read() == data
    assert not renewed.times
    assert "Credential=new/" in bucket.proxy.signed[-1] and "Credential=old/" in bucket.proxy.signed[0]


def test_a_file_that_may_not_be_read_is_told_from_one_that_is_not_there(bucket, folder):
    bucket.put("out/x", b"1")
    bucket.proxy.faults = [Fault("denied", method, "out/x", times=10**9) for method in ("GET", "HEAD")]
    with pytest.raises(PermissionError):
        folder.read("x")
    with pytest.raises(FileNotFoundError):
        folder.read("y")
    with pytest.raises(FileNotFoundError):
        Folder("s3://no-such-bucket-at-all/out").read("y")


def test_writing_where_there_is_no_bucket_is_no_file_that_is_gone(bucket):
    with pytest.raises(OSError, match="no such bucket") as error:
        Folder("s3://no-such-bucket-at-all/out").write("y", b"")
    assert of_the_world(error.value)


def test_no_credentials_at_all(bucket, folder, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StopRun, match="credentials"):
        folder.read("x")


def test_a_server_that_is_not_there(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(InfrastructureError):
        Folder(f"{bucket.url}/elsewhere").read("x")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://b/x", "s3fs", "s3"),
        ("gs://b/x", "gcsfs", "gcs"),
        ("az://b/x", "adlfs", "azure"),
        ("https://h/x", "aiohttp", "web"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, url, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    with pytest.raises(UserError, match=rf"matrix-11k\[{extra}\]"):
        Folder(url)
