"""A lease in a bucket: its holder's heart beats in an object, and who hears nothing for long takes it over."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tasks.errors import StopRun, UserError
from tasks.store import lease as leases
from tasks.store.folder import Folder
from tasks.store.lease import BUILD, LEASES, LeaseLost, Watch, alone, holder_of, lease, others, require_lease
from tests.buckets import Bucket
from tests.tasks.store.leasing import SPOILT, taken
from tests.tasks.store.made import CHUNK, KEYS, STAGE, accepted, open_store

pytestmark = pytest.mark.usefixtures("quick_hearts")


@contextmanager
def elsewhere(work: Folder, name: str = CHUNK) -> Iterator[None]:
    """As in another process, which knows nothing of the lease that this one holds."""
    mine = leases._held.pop((work.root, name))
    try:
        yield
    finally:
        leases._held[work.root, name] = mine


def silence(held: leases.Lease) -> None:
    """As if its process were frozen: its heart beats no more, and it knows of nothing."""
    held._over.set()
    for heart in hearts(held.name):
        heart.join()


def hearts(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"lease {name}"]


def test_while_the_heart_beats_it_is_refused_and_when_it_stops_it_is_anothers(memory: Folder) -> None:
    with ExitStack() as first, ExitStack() as second:
        mine = first.enter_context(lease(memory, CHUNK))
        assert mine
        began = time.monotonic()
        with elsewhere(memory):
            assert not taken(memory)
        assert time.monotonic() - began < leases.SILENT_S, "the next beat says enough"
        silence(mine)
        watch = Watch(memory, CHUNK)
        assert watch.silent_s() == 0, "what a watch sees first may be of now"
        time.sleep(0.05)
        assert watch.silent_s() >= 0.05
        began = time.monotonic()
        with elsewhere(memory):
            theirs = second.enter_context(lease(memory, CHUNK))
            assert theirs and theirs.epoch == mine.epoch + 1 and theirs.token != mine.token
        assert time.monotonic() - began >= leases.SILENT_S
        with pytest.raises(LeaseLost) as lost:
            require_lease(memory, CHUNK)
        assert isinstance(lost.value, StopRun) and "\n" not in str(lost.value) and CHUNK in str(lost.value)
        first.close()
        theirs.check()
        assert memory.names(f"{LEASES}/{CHUNK}") == [leases._object(theirs.epoch)], "the old one took nothing away"
        leases._held[memory.root, CHUNK] = theirs
    assert list(memory.walk(LEASES)) == []


def test_who_has_lost_it_writes_nothing_more(memory: Folder) -> None:
    store = open_store(memory)
    with ExitStack() as second:
        with lease(memory, CHUNK) as mine:
            assert mine
            store.write([accepted(KEYS[0])])
            before = store.folder.names()
            silence(mine)
            with elsewhere(memory):
                theirs = second.enter_context(lease(memory, CHUNK))
                assert theirs
            for act in (
                lambda: store.write([accepted(KEYS[1])]), lambda: store.forget(KEYS[:1]), store.compact, store.mend
            ):  # fmt: skip
                with pytest.raises(LeaseLost):
                    act()
        leases._held[memory.root, CHUNK] = theirs
        assert store.folder.names() == before
        store.write([accepted(KEYS[1])])
    assert open_store(memory).accepted() == KEYS[:2]


def test_of_several_who_find_it_silent_one_takes_it_over(memory: Folder) -> None:
    memory.write(f"{LEASES}/{CHUNK}/00000001.json", b'{"token": "of a dead one"}')
    start, end, got = threading.Barrier(4), threading.Event(), list[int]()

    def take() -> None:
        start.wait()
        with lease(memory, CHUNK) as mine:
            got.append(mine.epoch if mine else 0)
            if mine:
                end.wait()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        if len(got) == 4:
            break
        time.sleep(0.01)
    end.set()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 0, 0, 2]
    assert list(memory.walk(LEASES)) == []


FROZEN = """
import sys
from tasks.errors import StopRun
from tasks.store import lease as leases
from tasks.store.folder import Folder
from tests.buckets import Bucket
from tests.tasks.store.leasing import SPOILT, taken
from tests.tasks.store.made import CHUNK, KEYS, accepted, open_store
leases.BEAT_S = 0.2
work = Folder(sys.argv[1])
store = open_store(work)
with leases.lease(work, CHUNK) as mine:
    store.write([accepted(KEYS[0])])
    print("held" if mine else "refused", flush=True)
    sys.stdin.readline()
    try:
        store.write([accepted(KEYS[1])])
    except StopRun as error:
        print(error, flush=True)
"""


def test_a_process_that_was_frozen_finds_itself_without_on_a_real_store(bucket: Bucket) -> None:
    work = Folder(f"{bucket.url}/work")
    command = [sys.executable, "-c", FROZEN, work.uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"held\n"
            assert not taken(work)
            process.send_signal(signal.SIGSTOP)
            with lease(work, CHUNK) as mine:
                assert mine and mine.epoch == 2
                process.send_signal(signal.SIGCONT)
                told, _ = process.communicate(b"\n", timeout=60)
                assert b"another process has taken this over" in told and process.returncode == 0
                mine.check()
                open_store(work).write([accepted(KEYS[2])])
        finally:
            process.kill()
    assert open_store(work).accepted() == [KEYS[0], KEYS[2]]
    assert list(work.walk(LEASES)) == []


def test_a_heart_that_finds_another_in_its_place_stops(memory: Folder) -> None:
    with lease(memory, CHUNK) as mine:
        assert mine
        folder = memory.below(f"{LEASES}/{CHUNK}")
        folder.write(leases._object(mine.epoch + 1), b'{"token": "theirs"}')
        folder.remove(leases._object(mine.epoch))
        for heart in hearts(CHUNK):
            heart.join(10)
            assert not heart.is_alive()
        assert folder.names() == [leases._object(mine.epoch + 1)], "it did not come back"


def test_a_beat_that_cannot_be_written_is_followed_by_the_next(memory: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, write = list[str](), Folder.write

    def unreachable(folder: Folder, name: str, data: bytes) -> None:
        if len(failed) < 3 and LEASES in folder.root:
            failed.append(name)
            raise OSError("no connection")
        write(folder, name, data)

    with lease(memory, CHUNK) as mine:
        assert mine
        folder = memory.below(f"{LEASES}/{CHUNK}")
        monkeypatch.setattr(Folder, "write", unreachable)
        while len(failed) < 3:
            time.sleep(0.01)
        before = folder.read(leases._object(mine.epoch))
        for _ in range(1000):
            if folder.read(leases._object(mine.epoch)) not in (before, b""):  # in memory a file is empty first
                break
            time.sleep(0.01)
        assert folder.read(leases._object(mine.epoch)) != before
        mine.check()


class Plain(MemoryFileSystem):
    """A file system where nothing can be made only once."""

    protocol = "plain"


def test_where_nothing_can_be_made_only_once_a_second_build_is_refused_as_well() -> None:
    fsspec.register_implementation("plain", Plain, clobber=True)
    work = Folder("plain://twice/out").below("work")
    assert not work.exclusive
    with lease(work, BUILD) as mine:
        assert mine
        with elsewhere(work, BUILD), pytest.raises(UserError, match="another build is at work in plain://twice/out"):
            with alone("plain://twice/out"):
                pass
        mine.check()
    with alone("plain://twice/out"):
        pass


@pytest.mark.parametrize("words", SPOILT, ids=range(len(SPOILT)))
def test_a_torn_object_of_a_dead_holder_keeps_nobody_out(
    memory: Folder, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENT_S", 0.3)
    memory.write(f"{LEASES}/{CHUNK}/00000004.json", words)
    memory.write(f"{LEASES}/{CHUNK}/00000009.txt", b"of somebody else")
    assert holder_of(memory, CHUNK) == ""
    with lease(memory, CHUNK) as mine:
        assert mine and mine.epoch == 5
        assert str(os.getpid()) in holder_of(memory, CHUNK)
    assert [name for name, _ in memory.walk(LEASES)] == [f"{CHUNK}/00000009.txt"]


def test_others_in_a_bucket_are_those_whose_hearts_beat(memory: Folder) -> None:
    with lease(memory, CHUNK), lease(memory, STAGE), elsewhere(memory, CHUNK):
        memory.write(f"{LEASES}/{BUILD}/00000001.json", b"{}")
        assert others(memory) == [CHUNK]
    assert list(memory.walk(LEASES)) == []
