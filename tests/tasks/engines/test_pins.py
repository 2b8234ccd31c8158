"""The first run of a stage says which model it was; every later one is held against that, whoever it is."""

import subprocess
import sys
import threading
import uuid

import pytest

from tasks.engines.pins import Pins
from tasks.errors import UserError
from tasks.store.folder import TEMPORARY, Folder


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    return Folder(root).below("caption/0123456789ab")


def test_the_first_is_put_on_record_and_the_same_goes_on(folder):
    assert Pins(folder).read() == {}
    Pins(folder).check("language", "Qwen3-32B @abc")
    Pins(folder).check("captioner", "Qwen3-VL")
    Pins(folder).check("language", "Qwen3-32B @abc")
    assert Pins(folder).read() == {"language": "Qwen3-32B @abc", "captioner": "Qwen3-VL"}


def test_another_is_one_line_with_both_and_what_to_do_and_changes_nothing(folder):
    Pins(folder).check("detector", "weights 123456789abc, text 0")
    with pytest.raises(UserError) as caught:
        Pins(folder).check("detector", "weights cba987654321, text 0")
    line = str(caught.value)
    for word in (
        "engines.detector",
        "weights 123456789abc",
        "weights cba987654321",
        "put the old one back",
        "revision",
    ):
        assert word in line
    assert "\n" not in line
    assert Pins(folder).read() == {"detector": "weights 123456789abc, text 0"}


def test_one_whose_settings_leave_nothing_open_leaves_nothing_behind(folder):
    Pins(folder).check("tracker", None)
    assert folder.names() == [] and Pins(folder).read() == {}


def test_parts_and_other_files_of_the_stage_are_not_taken_for_pins(folder):
    for name in ("part-0.parquet", "engine-room.parquet", f"{TEMPORARY}1-engine-detector.txt"):
        folder.write(name, b"x")
    assert Pins(folder).read() == {}


def agreed(outcomes):
    """One won, and all who found the same go on; the others are told of it."""
    won = {found for found, told in outcomes if not told}
    assert len(won) == 1
    assert all(f"{next(iter(won))} is on record" in told for _, told in outcomes if told)
    return won.pop()


def test_threads_that_begin_at_once_agree(folder):
    outcomes, start = [], threading.Barrier(8)

    def begin(found):
        start.wait()
        try:
            Pins(folder).check("verifier", found)
            outcomes.append((found, ""))
        except UserError as error:
            outcomes.append((found, str(error)))

    threads = [threading.Thread(target=begin, args=(f"model-{k % 3}",)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    # The file system in memory looks before it writes, in two steps; a real store refuses the second writer itself.
    if folder.local:
        assert Pins(folder).read() == {"verifier": agreed(outcomes)}


def test_processes_that_begin_at_once_agree(tmp_path):
    begin = """
import sys
from tasks.engines.pins import Pins
from tasks.errors import UserError
from tasks.store.folder import Folder
print("ready", flush=True)
sys.stdin.readline()
try:
    Pins(Folder(sys.argv[1])).check("verifier", sys.argv[2])
except UserError as error:
    print(error)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", begin, str(tmp_path / "stage"), f"model-{k}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for k in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert Pins(Folder(str(tmp_path / "stage"))).read() == {
        "verifier": agreed([(f"model-{k}", line) for k, line in enumerate(told)])
    }


def test_an_object_store_where_another_was_a_moment_faster_is_asked_what_that_one_found(monkeypatch):
    real = Folder.create_exclusively

    def beaten_by(theirs):
        def create(folder, name, data):
            folder.write(name, theirs)
            return real(folder, name, data)

        monkeypatch.setattr(Folder, "create_exclusively", create)

    beaten_by(b"theirs\n")
    with pytest.raises(UserError, match="theirs is on record, ours is found"):
        Pins(Folder(f"memory://{uuid.uuid4().hex}").below("track/0")).check("tracker", "ours")
    beaten_by(b"ours\n")
    Pins(Folder(f"memory://{uuid.uuid4().hex}").below("track/0")).check("tracker", "ours")


def test_an_object_store_that_fails_is_not_taken_for_one_that_holds_a_pin(monkeypatch):
    def fail(*_):
        raise OSError("the store fails")

    monkeypatch.setattr(Folder, "create_exclusively", fail)
    with pytest.raises(OSError, match="the store fails"):
        Pins(Folder(f"memory://{uuid.uuid4().hex}").below("track/0")).check("tracker", "ours")


def test_a_pin_is_whole_or_absent(tmp_path, monkeypatch):
    folder = Folder(str(tmp_path / "stage"))
    monkeypatch.setattr("tasks.store.folder.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space"):
        Pins(folder).check("tracker", "weights 1")
    monkeypatch.undo()
    assert Pins(folder).read() == {}
    Pins(folder).check("tracker", "weights 2")
    assert Pins(folder).read() == {"tracker": "weights 2"}
