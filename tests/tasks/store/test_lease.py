"""A lease is one process's at a time; nobody is kept out by one that is dead, and who has lost it writes no more."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tasks.errors import StopRun, UserError
from tasks.store import lease as leases
from tasks.store import rows
from tasks.store.folder import Folder
from tasks.store.lease import BUILD, LEASES, LeaseLost, Watch, adopt, alone, holder_of, lease, others, require_lease
from tasks.store.parts import write_part
from tests.buckets import Bucket
from tests.tasks.store.made import CHUNK, KEYS, STAGE, accepted, open_store

HOLD = (
    "import sys; from tasks.store.folder import Folder; from tasks.store.lease import lease\n"
    "with lease(Folder(sys.argv[1]), sys.argv[2]) as mine:\n"
    "    print('held' if mine else 'refused', flush=True); sys.stdin.read()"
)


@contextmanager
def another(work: Folder, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a lease until its input ends; its first line is read."""
    command = [sys.executable, "-c", HOLD, work.root, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def taken(work: Folder, name: str = CHUNK) -> bool:
    """Whether a try to take the lease, which is given back at once, ends well."""
    with lease(work, name) as mine:
        return mine is not None


@pytest.fixture(params=["disk", "bucket"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Where nobody holds anything: a folder on disk, and one in a bucket."""
    return Folder(str(tmp_path / "work")) if request.param == "disk" else memory_of(request)


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "work"))


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Folder:
    return memory_of(request)


def memory_of(request: pytest.FixtureRequest) -> Folder:
    name = request.node.name.replace("[", "-").replace("]", "")
    return Folder(f"memory://{name}/work")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat fast enough to be waited for, and often enough on a busy machine."""
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    monkeypatch.setattr(leases, "SILENT_S", 2.0)


# on disk and in a bucket


def test_it_is_held_once_and_free_after_its_end_good_or_bad(work: Folder) -> None:
    with lease(work, CHUNK) as mine:
        assert mine is not None and mine.name == CHUNK
        assert not taken(work)
        assert taken(work, f"{STAGE}/00001"), "one of another chunk"
        require_lease(work, CHUNK)
    with pytest.raises(AssertionError, match="only under its lease"):
        require_lease(work, CHUNK)
    with pytest.raises(ValueError, match="bad"), lease(work, CHUNK):
        raise ValueError("bad")
    assert taken(work)
    assert holder_of(work, CHUNK) == ""
    assert [n for n, _ in work.walk(LEASES) if not n.endswith(".lock")] == [], "nothing else is left"


def test_who_was_refused_leaves_the_holder_alone(work: Folder) -> None:
    with lease(work, CHUNK):
        for _ in range(2):
            assert not taken(work)
        require_lease(work, CHUNK)
        open_store(work).write([accepted(KEYS[0])])


def test_of_threads_that_try_at_once_one_has_it(work: Folder) -> None:
    start, end, got = threading.Barrier(6), threading.Event(), list[bool]()

    def take() -> None:
        start.wait()
        with lease(work, CHUNK) as mine:
            got.append(mine is not None)
            if mine:
                end.wait()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(1000):
        if len(got) == 6:
            break
        time.sleep(0.01)
    end.set()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 5 + [True]


def test_a_stages_covers_its_chunks_and_no_others(work: Folder) -> None:
    with lease(work, STAGE):
        require_lease(work, STAGE)
        require_lease(work, CHUNK)
        for name in ("dedupe", "dedupe/abc1234/00000", "dedupe/abc12"):
            with pytest.raises(AssertionError):
                require_lease(work, name)
        with lease(work, CHUNK) as inner:
            assert inner is not None
        require_lease(work, CHUNK)
    with lease(work, CHUNK), pytest.raises(AssertionError):
        require_lease(work, STAGE)


def test_who_works_for_the_holder_adopts_it_by_its_token(work: Folder) -> None:
    with lease(work, CHUNK) as mine:
        assert mine
        token, epoch = mine.token, mine.epoch
        held = leases._held.pop((work.root, CHUNK))  # as in another process, which knows of none
        with adopt(work, CHUNK, token, epoch):
            open_store(work).write([accepted(KEYS[0])])
        with adopt(work, CHUNK, "another's", epoch), pytest.raises(LeaseLost, match="taken this over"):
            require_lease(work, CHUNK)
        with pytest.raises(AssertionError):
            require_lease(work, CHUNK)
        leases._held[work.root, CHUNK] = held
    with adopt(work, CHUNK, token, epoch), pytest.raises(LeaseLost):
        open_store(work).write([accepted(KEYS[1])])  # its holder has ended meanwhile
    assert open_store(work).accepted() == KEYS[:1]


def test_who_loses_it_while_a_part_is_being_written_leaves_none(work: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(work, CHUNK) as mine:
        assert mine
        token = mine.token

        def frozen(*written: Any) -> None:
            write_part(*written)
            mine.token = "another's"  # as if it had been taken over while this process stood still

        monkeypatch.setattr(rows, "write_part", frozen)
        with pytest.raises(LeaseLost, match="taken this over"):
            open_store(work).write([accepted(KEYS[0])])
        mine.token = token
    assert open_store(work).folder.names() == []


def test_a_build_is_alone_in_its_folder(work: Folder) -> None:
    out = work.uri.removesuffix("/work")
    with alone(out):
        require_lease(work, BUILD)
        with pytest.raises(UserError, match=r"another build is at work in .*process \d+\).*give another --out"):
            with alone(out):
                pass
    with alone(out):
        pass


def test_who_watches_hears_the_holder_as_long_as_it_lives(work: Folder) -> None:
    watch = Watch(work, CHUNK)
    time.sleep(0.05)
    assert watch.silent_s() >= 0.05, "nobody holds it yet"
    with lease(work, CHUNK) as mine:
        assert mine and watch.silent_s() == 0
        time.sleep(leases.BEAT_S * 6)
        assert watch.silent_s() < leases.BEAT_S * 6, "it has beaten since, or keeps its lock"
        require_lease(work, CHUNK)
    time.sleep(0.05)
    assert watch.silent_s() >= 0.05
    assert taken(work)


# on disk


def test_who_watches_misses_a_holder_that_was_killed(disk: Folder) -> None:
    with another(disk, CHUNK) as process:
        watch = Watch(disk, CHUNK)
        assert watch.silent_s() == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.05)
        assert watch.silent_s() >= 0.05
    assert holder_of(disk, CHUNK).endswith(f", process {process.pid}"), "what it left stays for the next"


def test_another_process_keeps_it_until_its_end_and_not_after_a_kill(disk: Folder) -> None:
    with another(disk, CHUNK) as process:
        assert not taken(disk) and not taken(disk)
        assert holder_of(disk, CHUNK).endswith(f", process {process.pid}")
        with pytest.raises(AssertionError):
            require_lease(disk, CHUNK)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert taken(disk)
    with another(disk, CHUNK) as process:
        process.communicate(b"")
        assert process.returncode == 0 and taken(disk) and holder_of(disk, CHUNK) == ""


def test_a_process_that_stands_still_keeps_it(disk: Folder) -> None:
    with another(disk, CHUNK) as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(leases.SILENT_S * 1.5)
        assert not taken(disk)
        process.send_signal(signal.SIGCONT)
        assert not taken(disk)


def test_what_others_hold_is_named_and_what_is_ones_own_is_not(disk: Folder) -> None:
    assert others(disk) == []
    with another(disk, CHUNK), another(disk, BUILD), lease(disk, STAGE):
        assert others(disk) == [BUILD, CHUNK]
        require_lease(disk, STAGE)
    assert others(disk) == []


@pytest.mark.parametrize("blocked", ["out", "work", ".lock"])
def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path, blocked: str) -> None:
    """A file in place of a folder, or a folder in place of the file, stands for all that the system refuses."""
    out = tmp_path / "out"
    if blocked == "out":
        out.write_bytes(b"")
    elif blocked == "work":
        out.mkdir()
        (out / "work").write_bytes(b"")
    else:
        (out / "work" / LEASES / BUILD / ".lock").mkdir(parents=True)
    with pytest.raises(UserError, match=f"cannot write to {out}: .*give another --out") as told, alone(str(out)):
        pass
    assert "\n" not in str(told.value)


def test_it_makes_the_folders_that_it_needs(tmp_path: Path) -> None:
    with alone(str(tmp_path / "new" / "out")):
        require_lease(Folder(str(tmp_path / "new" / "out" / "work")), BUILD)


# in a bucket


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


SPOILT = (b'{"tok', b"", b"[]", b"null", b'"held"', b'{"token": 1}', b"\xff\x00", b"[" * 100_000)


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


@pytest.mark.parametrize("words", SPOILT, ids=range(len(SPOILT)))
def test_who_finds_the_account_of_its_lease_spoilt_writes_no_more_and_the_next_has_it(
    work: Folder, words: bytes
) -> None:
    with lease(work, CHUNK) as mine:
        assert mine
        name = leases.HOLDER if work.local else leases._object(mine.epoch)
        mine.folder.write(name, words)
        assert holder_of(work, CHUNK) == ""
        with pytest.raises(LeaseLost):
            mine.check()
        mine.folder.remove(name)
    assert taken(work)


def test_others_in_a_bucket_are_those_whose_hearts_beat(memory: Folder) -> None:
    with lease(memory, CHUNK), lease(memory, STAGE), elsewhere(memory, CHUNK):
        memory.write(f"{LEASES}/{BUILD}/00000001.json", b"{}")
        assert others(memory) == [CHUNK]
    assert list(memory.walk(LEASES)) == []
