"""Kept values: shared by threads and processes, whole after a kill, in buckets too; damage is never in the way."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.store import database
from tasks.store.database import LIVE, Database, damage_of, values_of
from tasks.store.folder import Folder


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    return Folder(str(tmp_path / "kept") if request.param == "disk" else f"memory://{uuid.uuid4().hex}/kept")


@pytest.fixture
def bucket():
    return Folder(f"memory://{uuid.uuid4().hex}/kept")


def test_what_is_put_is_there_for_the_next_in_one_file(folder):
    first = Database(folder)
    assert first.get("a") is None
    first.put("a", b"1")
    first.put("b", b"2" * 100_000)
    first.put("a", b"3")
    first.close()
    assert len(folder.names()) == 1
    again = Database(folder)
    assert (again.get("a"), again.get("b"), again.get("c")) == (b"3", b"2" * 100_000, None)
    again.forget("b")
    again.forget("c")
    again.close()
    assert len(folder.names()) == 1
    last = Database(folder)
    assert (last.get("a"), last.get("b"), last.told) == (b"3", None, [])
    last.close()
    assert damage_of(folder, folder.names()[0]) == ""


def test_nothing_is_made_where_nothing_is_asked(folder):
    Database(folder).close()
    assert folder.names() == []


def test_threads_share_one(folder):
    shared = Database(folder)

    def work(n):
        shared.put(f"{n % 8}", b"%d" % (n % 8))
        return shared.get(f"{n % 8}") == b"%d" % (n % 8)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    shared.close()


WRITER = """
import sys
from tasks.store.database import Database
from tasks.store.folder import Folder
for round in range(2):
    kept = Database(Folder(sys.argv[1]))
    for n in range(20):
        kept.put(f"{sys.argv[2]}-{round}-{n}", b"x" * 3000)
        assert kept.get(f"{sys.argv[2]}-{round}-{n}")
    kept.close()
"""


def test_processes_open_write_and_close_it_side_by_side(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n)]) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0] * 3
    kept = Database(Folder(str(tmp_path)))
    assert all(kept.get(f"{who}-{round}-{n}") for who in range(3) for round in range(2) for n in range(20))
    kept.close()
    assert os.listdir(tmp_path) == [LIVE]


ENDLESS = """
import sys
from tasks.store.database import Database
from tasks.store.folder import Folder
kept = Database(Folder(sys.argv[1]))
for n in range(10**6):
    kept.put(str(n), b"%d" % n * 500)
    print(n, flush=True)
"""


@pytest.mark.parametrize("moment", range(3))
def test_a_kill_at_any_moment_leaves_all_that_was_put(moment, tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE)
    for _ in range(1 + 40 * moment):
        writer.stdout.readline()
    time.sleep(0.003 * moment)
    writer.send_signal(signal.SIGKILL)
    told = [int(line) for line in writer.communicate()[0].split()]
    kept = Database(Folder(str(tmp_path)))
    last = told[-1] if told else 40 * moment
    assert all(kept.get(str(n)) == b"%d" % n * 500 for n in range(last + 1))
    assert kept.told == []
    kept.close()


def test_a_bucket_gets_what_is_new_now_and_then_and_one_file_in_the_end(bucket, monkeypatch):
    kept = Database(bucket)
    kept.put("a", b"1")
    assert bucket.names() == []
    monkeypatch.setattr(database, "HAND_OVER_S", 0.0)
    kept.put("b", b"2")
    assert len(bucket.names()) == 1
    kept.put("c", b"3")
    assert len(bucket.names()) == 2
    killed = Database(bucket)  # what another finds where this one is killed now
    assert [killed.get(key) for key in "abc"] == [b"1", b"2", b"3"]
    kept.close()
    (name,) = bucket.names()
    assert values_of(bucket.read(name)) == [("a", b"1"), ("b", b"2"), ("c", b"3")]


def test_writers_in_a_bucket_lose_nothing_of_each_other(bucket):
    one, two, three = (Database(bucket) for _ in range(3))
    one.put("a", b"1")
    two.put("b", b"2")
    three.put("c", b"3")
    one.close()
    two.close(gather=False)
    three.close()
    late = Database(bucket)
    assert [late.get(key) for key in "abc"] == [b"1", b"2", b"3"]
    late.gather()
    (name,) = bucket.names()
    Database(bucket).gather()
    assert bucket.names() == [name]


def damaged(path, how):
    data = bytearray(Path(path).read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "half":
        del data[len(data) // 2 :]
    elif how == "noise":
        data = bytearray(255 - byte for byte in data)
    elif how == "a page":
        data[4096 : 2 * 4096] = bytes(range(256)) * 16
    Path(path).write_bytes(data)


@pytest.mark.parametrize("how", ["half", "noise", "a page"])
def test_a_damaged_file_on_disk_is_set_aside_with_a_line(how, tmp_path):
    folder = Folder(str(tmp_path / "kept"))
    kept = Database(folder)
    for n in range(200):
        kept.put(f"{n:04}" * 16, b"v" * 100)
    kept.close()
    damaged(folder.path(LIVE), how)
    assert damage_of(folder, LIVE)
    kept = Database(folder)
    assert kept.get("0000" * 16) is None
    kept.put("new", b"1")
    kept.close()
    (line,) = kept.told
    assert "was damaged" in line and "set aside" in line and "\n" not in line
    assert [name.startswith("torn-") for name in sorted(folder.names())] == [False, True]
    assert Database(folder).get("new") == b"1"


def test_one_that_is_found_damaged_while_it_is_open_is_set_aside_too(tmp_path):
    folder = Folder(str(tmp_path / "kept"))
    writer = Database(folder)
    for n in range(2000):
        writer.put(f"{n:04}" * 16, b"v" * 2000)
    writer.close()
    kept = Database(folder)
    assert kept.get("0000" * 16)
    path = Path(folder.path(LIVE))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert kept.get("1999" * 16) is None
    kept.put("new", b"1")
    assert kept.get("new") == b"1" and len(kept.told) == 1
    kept.close()


@pytest.mark.parametrize("how", ["empty", "half", "noise"])
def test_a_damaged_file_in_a_bucket_is_set_aside_and_the_others_count(how, bucket, tmp_path):
    for key in "ab":
        kept = Database(bucket)
        kept.put(key, b"1" * 9000)
        kept.close(gather=False)
    name = next(name for name in bucket.names() if values_of(bucket.read(name))[0][0] == "a")
    copy = tmp_path / "copy"
    copy.write_bytes(bucket.read(name))
    damaged(copy, how)
    bucket.write(name, copy.read_bytes())
    assert damage_of(bucket, name)
    kept = Database(bucket)
    assert (kept.get("a"), kept.get("b")) == (None, b"1" * 9000)
    assert len(kept.told) == 1
    assert f"torn-{name}" in bucket.names()


def test_a_folder_may_move_from_disk_to_a_bucket_and_back(tmp_path, bucket):
    here = Folder(str(tmp_path / "here"))
    writer = Database(here)
    writer.put("a", b"1")  # copied while it is open, or after a kill: SQLite's log may hold it still
    writer._db.execute("PRAGMA wal_checkpoint")
    bucket.write(LIVE, here.read(LIVE))
    writer.close()
    there = Database(bucket)
    assert there.get("a") == b"1"
    there.put("b", b"2")
    there.close()
    back = Folder(str(tmp_path / "back"))
    for name in bucket.names():
        back.write(name, bucket.read(name))
    again = Database(back)
    assert (again.get("a"), again.get("b")) == (b"1", b"2")
    again.close()
    assert back.names() == [LIVE]


def test_a_full_disk_is_the_worlds_fault(tmp_path):
    kept = Database(Folder(str(tmp_path)))
    kept.put("a", b"1")
    kept._db.execute("PRAGMA max_page_count = 4")
    with pytest.raises(OSError, match="full"):
        kept.put("b", b"x" * 100_000)
    assert kept.get("a") == b"1"
    kept.close()


def test_a_file_of_another_kind_is_damage(tmp_path):
    folder = Folder(str(tmp_path))
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE things (name TEXT)")
    other.close()
    kept = Database(folder)
    assert kept.get("a") is None and len(kept.told) == 1
    kept.close()
