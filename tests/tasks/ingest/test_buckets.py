"""Ingest of objects that scan has fetched, or that have to be fetched again."""

import hashlib
import subprocess
import sys

import pytest

from schemas import Reason, SourceVideo, Status
from tasks.errors import InfrastructureError, StopRun
from tasks.ingest import sandbox
from tasks.ingest.stage import ingest
from tasks.scan.stage import ScanSettings, hash_files, list_files
from tasks.store.folder import Folder
from tasks.store.spool import counted
from tests.buckets import Fault
from tests.tasks.ingest.running import SMALL
from tests.tasks.ingest.striped import picture, write


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film") / "a.mp4", [picture(i) for i in range(36)]).read_bytes()


@pytest.fixture
def settings(tmp_path):
    counted.clear()
    return ScanSettings(spool_folder=str(tmp_path / "spool"))


@pytest.fixture
def source(bucket, settings, film):
    """An object that scan has been at."""
    bucket.put("raw/a.mp4", film)
    (row,) = hash_files(list_files(f"{bucket.url}/raw", settings), settings)
    file = row.payload
    return SourceVideo(
        source_id=file.digest[:16], uris=(file.uri,), digest=file.digest, size_bytes=file.size_bytes, caption=None,
        dataset="test",
    )  # fmt: skip


def cut(source, tmp_path, settings):
    (row,) = ingest([source], Folder(str(tmp_path / "out")), "m", SMALL, settings)
    return row


def spooled(tmp_path):
    return [p.name for p in (tmp_path / "spool").iterdir() if p.name not in (".lock", ".taken")]


def test_what_scan_fetched_is_not_fetched_again_and_leaves_nothing(bucket, source, settings, tmp_path):
    assert spooled(tmp_path) == [source.digest]
    bucket.proxy.seen.clear()
    assert cut(source, tmp_path, settings).status is Status.ACCEPTED
    assert bucket.proxy.seen == [] and spooled(tmp_path) == []
    assert counted == {"kept": 1, "taken": 1}


def test_what_was_cleaned_away_is_fetched_again_and_counted(bucket, source, settings, tmp_path):
    first = cut(source, tmp_path, settings)
    bucket.proxy.faults = [Fault("cut", "GET", "a.mp4")]
    again = cut(source, tmp_path, settings)
    assert again.payload == first.payload and counted["fetched_again"] == 1 and spooled(tmp_path) == []


def test_a_kept_file_that_is_damaged_is_fetched_again(source, settings, tmp_path):
    kept = tmp_path / "spool" / source.digest
    kept.write_bytes(bytes(len(kept.read_bytes())))
    assert cut(source, tmp_path, settings).status is Status.ACCEPTED
    assert counted["fetched_again"] == 1 and spooled(tmp_path) == []


@pytest.mark.parametrize("how", ["changed", "grown", "shrunk", "gone"])
def test_an_object_that_is_no_more_what_was_hashed_is_a_row(bucket, source, settings, film, tmp_path, how):
    (tmp_path / "spool" / source.digest).unlink()
    if how == "gone":
        bucket.fs.rm_file(source.uris[0])
    else:
        bucket.put("raw/a.mp4", {"changed": bytes(len(film)), "grown": film * 2, "shrunk": film[:-1]}[how])
    row = cut(source, tmp_path, settings)
    assert row.reason is Reason.UNREADABLE and spooled(tmp_path) == []


def test_the_same_content_under_another_name_will_do(bucket, source, settings, film, tmp_path):
    (tmp_path / "spool" / source.digest).unlink()
    other = bucket.put("raw/b.mp4", film)
    bucket.fs.rm_file(source.uris[0])
    both = source.model_copy(update={"uris": (*source.uris, other)})
    assert cut(both, tmp_path, settings).status is Status.ACCEPTED


@pytest.mark.parametrize("kind", ["slow_down", "reset", "expired"])
def test_a_failing_bucket_leaves_the_source_pending(bucket, source, settings, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("tasks.store.trying.TRIES", 2)
    (tmp_path / "spool" / source.digest).unlink()
    bucket.proxy.faults = [Fault(kind, "GET", "a.mp4", times=10**9)]
    with pytest.raises(StopRun if kind == "expired" else InfrastructureError):
        cut(source, tmp_path, settings)
    assert spooled(tmp_path) == []


def test_a_decoder_that_the_world_ends_leaves_the_file_for_the_next_try(source, settings, tmp_path, monkeypatch):
    def killed(*_):
        raise InfrastructureError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "run", killed)
        with pytest.raises(InfrastructureError):
            cut(source, tmp_path, settings)
    assert spooled(tmp_path) == [source.digest]
    assert cut(source, tmp_path, settings).status is Status.ACCEPTED and counted["fetched_again"] == 0


KILLED = """
import os, sys
from tasks.scan.stage import ScanSettings, hash_files, list_files
from tasks.store import spool
settings = ScanSettings(spool_folder=sys.argv[2])
real = spool._written
def once(place, piece):
    real(place, piece)
    os.kill(os.getpid(), 9)
spool._written = once
list(hash_files(list(list_files(sys.argv[1], settings)), settings))
"""


def test_a_scan_that_is_killed_while_it_fetches_leaves_nothing_for_long(bucket, settings, film, tmp_path):
    bucket.put("raw/a.mp4", film)
    command = [sys.executable, "-c", KILLED, f"{bucket.url}/raw", settings.spool_folder]
    assert subprocess.run(command, check=False).returncode == -9
    assert len(spooled(tmp_path)) == 1
    (row,) = hash_files(list_files(f"{bucket.url}/raw", settings), settings)
    assert spooled(tmp_path) == [row.payload.digest] == [hashlib.sha256(film).hexdigest()]
