"""What work took lies in the parts: through merges, losses and damage it adds up, and no row knows of it."""

import socket

import pyarrow.parquet as pq
import pytest

from schemas import Row, Status, Usage
from schemas.usage import Repairs
from tasks.store.check import verify_store
from tasks.store.folder import Folder
from tasks.store.legs import Leg, Machine, machine, merged, summed
from tasks.store.parts import open_part
from tasks.store.rows import COMPACT_ABOVE
from tests.tasks.store.made import KEYS, accepted, held, open_store


def leg(name="a", began=0.0, ended=2.0, keys=1, **more):
    return Leg(machine="host", leg=name, slots=2, began=began, ended=ended, batch_s=ended - began, keys=keys, **more)


def test_of_a_batch():
    spent = Usage(requests=2, prompt_tokens=10, completion_tokens=5, repaired=Repairs(doubles=1))
    rows = [
        accepted(KEYS[0]).model_copy(update={"usage": spent}),
        accepted(KEYS[1]).model_copy(update={"usage": spent}),
        Row(key=KEYS[2], status=Status.FAILED, detail="ValueError: nothing fits"),
        Row(key=KEYS[3], status=Status.FAILED, detail="ValueError: nothing fits either"),
    ]
    found = Leg.of(rows, 5.0, 7.5, leg="a", slots=4)
    assert (found.machine, found.keys, found.batch_s, found.slots) == (socket.gethostname(), 2, 2.5, 4)
    assert found.failed == {"ValueError": 2} and found.usage == spent + spent


def test_batches_side_by_side_are_one_leg_whose_room_is_known():
    one = merged([leg(began=0, ended=4), leg("b", 100, 101), leg(began=1, ended=4, failed={"OSError": 1})])
    assert [(found.leg, found.batch_s, found.keys) for found in one] == [("a", 7.0, 2), ("b", 1.0, 1)]
    (host,) = summed(map(Machine.of, one))
    assert (host.wall_s, host.room_s, host.batch_s, host.keys) == (5.0, 10.0, 8.0, 3)
    assert (host.per_second, host.busy, host.failed) == (0.6, 0.8, {"OSError": 1})


def test_the_time_between_two_legs_counts_for_nobody():
    (host,) = summed(map(Machine.of, merged([leg(began=0, ended=1), leg("b", 50_000, 50_001)])))
    assert host.wall_s == 2.0


def test_a_gpu_is_part_of_the_name(monkeypatch):
    machine.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert machine() == f"{socket.gethostname()} gpu 3"
    monkeypatch.undo()
    machine.cache_clear()
    assert machine() == socket.gethostname()


@pytest.fixture
def work(tmp_path):
    return Folder(str(tmp_path))


def test_they_outlive_merging_and_taking_rows_off(work):
    store = open_store(work)
    with held(work):
        for at, key in enumerate(KEYS[: COMPACT_ABOVE + 1]):
            store.write([accepted(key)], leg("a" if at % 2 else "b", began=at, ended=at + 1, gpu_bytes=at << 20))
        before = store.totals().machines
        store.compact()
        assert len(store.folder.names()) == 1
        assert store.totals().machines == open_store(work).totals().machines == before
        store.forget(KEYS[:1])
        assert store.totals().machines == before
    (host,) = before
    assert (host.keys, host.gpu_bytes) == (COMPACT_ABOVE + 1, COMPACT_ABOVE << 20)


def test_failed_attempts_alone_are_told_too(work):
    store = open_store(work)
    with held(work):
        store.write(
            [Row(key=KEYS[0], status=Status.FAILED, detail="OSError: gone")], leg(keys=0, failed={"OSError": 1})
        )
    assert open_store(work).totals().machines[0].failed == {"OSError": 1}


def test_rows_are_the_same_with_and_without(work):
    store = open_store(work)
    with held(work):
        store.write([accepted(KEYS[0])], leg())
        store.write([accepted(KEYS[1])])
    one, other = (pq.read_table(store.folder.path(name)) for name in sorted(store.folder.names()))
    assert one.schema.equals(other.schema, check_metadata=False)
    assert {*one["key"].to_pylist(), *other["key"].to_pylist()} == set(KEYS[:2])
    assert store.read(KEYS[:2]) == open_store(work).read(KEYS[:2])


def test_a_damaged_footer_is_damage(work):
    store = open_store(work)
    with held(work):
        store.write([accepted(KEYS[0])], leg("x" * 30))
    (name,) = store.folder.names()
    data = store.folder.read(name)
    store.folder.write(name, data.replace(b'"leg":"' + b"x" * 30, b'"let":"' + b"x" * 30))
    with open_part(store.folder, name, None):
        pass
    again = open_store(work)
    assert again.damaged[name].startswith(f"{store.folder.path(name)} is damaged")
    assert [problem.file for problem in verify_store(work)] == [f"{store.place}/{name}"]
    with held(work):
        (line,) = again.mend()
    assert "is kept as torn-" in line
    assert open_store(work).damaged == {}
