"""Files between hashing and decoding: each once, within bounds, and nothing is left of whoever was killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import fsspec
import pytest

from schemas import Reason
from tasks.errors import InfrastructureError, Reject, UserError
from tasks.store.remote import Remote
from tasks.store.spool import PART, Spool, fetch


@pytest.fixture
def spool(tmp_path):
    return Spool(str(tmp_path / "spool"), 1000)


def held(spool: Spool) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in spool.folder.iterdir() if p.name not in (".lock", ".taken")}


def put(spool: Spool, data: bytes) -> str | None:
    """The digest where there was room."""
    digest = hashlib.sha256(data).hexdigest()
    with spool.place(len(data)) as place:
        if place is None:
            return None
        place.write(data)
        place.end()
        spool.keep(place, digest)
    return digest


def test_what_is_kept_is_taken_once(spool):
    digest = put(spool, b"one")
    with spool.take(digest) as path:
        assert path.read_bytes() == b"one"
    with spool.take(digest) as path:
        assert path is None
    assert held(spool) == {}


def test_it_stays_where_the_world_failed_and_goes_with_a_reject(spool):
    digest = put(spool, b"one")
    with pytest.raises(InfrastructureError), spool.take(digest):
        raise InfrastructureError("the disk is full")
    with pytest.raises(Reject), spool.take(digest) as path:
        assert path is not None
        raise Reject(Reason.UNDECODABLE)
    assert held(spool) == {}


def test_room_is_given_by_what_a_file_will_need_and_never_beyond_the_limit(spool):
    with spool.place(600) as first, spool.place(600) as second:
        assert first is not None and second is None
        with spool.place(600, whatever=True) as third:
            assert third is not None
    assert held(spool) == {}
    assert put(spool, b"x" * 600) and put(spool, b"y" * 600) is None and put(spool, b"y" * 400)
    assert sum(held(spool).values()) == 1000


def test_a_place_that_is_not_kept_goes_with_the_block(spool):
    with pytest.raises(RuntimeError), spool.place(10) as place:
        place.write(b"half")
        raise RuntimeError
    assert held(spool) == {}


KILLED = """
import sys, time
from tasks.store.spool import Spool
spool = Spool(sys.argv[1], 1000)
with spool.place(900) as place:
    place.write(b"half")
    print("there", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_makes_room_and_what_a_live_one_writes_does_not(spool):
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(spool.folder)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"there\n"
    assert [name[: len(PART)] for name in held(spool)] == [PART]
    with spool.place(900) as place:
        assert place is None
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert len(held(spool)) == 1
    with spool.place(900) as place:
        assert place is not None
    assert held(spool) == {}


def test_what_nobody_came_for_makes_room_when_it_is_old_and_not_while_it_is_used(spool):
    old, used = put(spool, b"x" * 500), put(spool, b"y" * 500)
    for digest in (old, used):
        os.utime(spool.folder / digest, (1, 1))
    with spool.take(used) as path:
        assert put(spool, b"z" * 600) is None
        assert put(spool, b"z" * 400) is not None and path.exists()
    assert list(held(spool)) == [hashlib.sha256(b"z" * 400).hexdigest()]
    assert put(spool, b"w" * 700) is None, "what is fresh stays"


def test_what_was_passed_over_makes_room(spool):
    over, fresh, taken = (put(spool, data * 300) for data in (b"x", b"y", b"z"))
    now = time.time()
    for digest, age in ((over, 2000), (fresh, 1200), (taken, 1000)):
        os.utime(spool.folder / digest, (now - age, now - age))
    assert put(spool, b"w" * 300) is None
    with spool.take(taken):
        pass
    assert put(spool, b"w" * 600) is not None
    assert set(held(spool)) == {fresh, hashlib.sha256(b"w" * 600).hexdigest()}


def test_a_folder_that_cannot_be_used_is_the_users_to_change(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"scan\.spool_folder"):
        Spool(str(tmp_path / "file" / "spool"), 1)


def test_the_folder_is_for_its_owner_alone(spool):
    assert spool.folder.stat().st_mode & 0o077 == 0


SHARING = """
import hashlib, random, sys
from tasks.store.spool import Spool
spool, rng, full = Spool(sys.argv[1], 2000), random.Random(int(sys.argv[2])), 0
for _ in range(150):
    data = rng.randbytes(rng.randrange(1, 1200))
    digest = hashlib.sha256(data).hexdigest()
    with spool.place(len(data)) as place:
        with spool._alone():
            assert spool._tidied() <= 2000
        if place is None:
            full += 1
            continue
        place.write(data)
        place.end()
        spool.keep(place, digest)
    with spool.take(digest) as path:
        assert path.read_bytes() == data
print(full)
"""


def test_several_processes_share_it(spool):
    command = [sys.executable, "-c", SHARING, str(spool.folder)]
    workers = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(3)]
    full = [int(worker.communicate()[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert held(spool) == {} and sum(full) < 450


def test_a_full_disk_costs_the_copy_and_not_the_digest(spool):
    fs = fsspec.filesystem("memory")
    fs.pipe("/spool/a", b"x" * 500)
    with spool.place(500) as place:
        place.write = lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        assert fetch(Remote(fs), "/spool/a", place) == (hashlib.sha256(b"x" * 500).hexdigest(), 500, False)
    fs.rm("/spool", recursive=True)
