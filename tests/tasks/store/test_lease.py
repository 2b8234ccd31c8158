"""A lease is one process's at a time; nobody is kept out by one that is dead, and who has lost it writes no more."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import UserError
from tasks.store import lease as leases
from tasks.store import rows
from tasks.store.folder import Folder
from tasks.store.lease import BUILD, LEASES, LeaseLost, Watch, adopt, alone, holder_of, lease, others, require_lease
from tasks.store.parts import write_part
from tests.tasks.store.leasing import SPOILT, memory_of, taken
from tests.tasks.store.made import CHUNK, KEYS, STAGE, accepted, open_store

pytestmark = pytest.mark.usefixtures("quick_hearts")

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


@pytest.fixture(params=["disk", "bucket"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """Where nobody holds anything: a folder on disk, and one in a bucket."""
    return Folder(str(tmp_path / "work")) if request.param == "disk" else memory_of(request)


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "work"))


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
