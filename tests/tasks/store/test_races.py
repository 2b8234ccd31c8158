"""Readers while a writer adds, merges, rewrites and removes parts: every row that stays is read, and read right."""

import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import InfrastructureError
from tasks.store import reading, rows
from tasks.store.folder import Folder
from tests.tasks.store.made import CHUNK, KEYS, accepted, held, open_store, rejected

STAY, COME_AND_GO = KEYS[:40], KEYS[100:160]
SECONDS = 2.0


def change(out: str, seed: int) -> None:
    """Write, forget and merge for a while; what is about STAY is only ever moved."""
    rows.COMPACT_ABOVE = 4
    rng = random.Random(seed)
    until = time.monotonic() + SECONDS
    work = Folder(out).below("work")
    with held(work):
        store = open_store(work)
        while time.monotonic() < until:
            some = rng.sample(COME_AND_GO, 6)
            store.forget(some[:3])
            store.write([accepted(k, KEYS.index(k)) if rng.random() < 0.5 else rejected(k) for k in some])
            store.compact()


def look(out: str, seed: int, done: Callable[[], bool], wrong: list[str], looks: list[int]) -> None:
    """Read with an index that grows old, and now and then with a new one."""
    rng = random.Random(seed)
    store = open_store(Folder(out).below("work"))
    while not done():
        try:
            some = rng.sample(STAY, 5)
            found = [p.distance for p in store.payloads(some)]
            if found != [KEYS.index(k) for k in some]:
                wrong.append(f"{some} read as {found}")
            if rng.random() < 0.3:
                seen = [row for piece in store.scan() for row in piece]
                if not set(STAY) <= {row.key for row in seen} or len({row.key for row in seen}) != len(seen):
                    wrong.append(f"a scan found {len(seen)} rows")
                if any(row.payload and row.payload.distance != KEYS.index(row.key) for row in seen):
                    wrong.append("a scan found another row's payload")
            if rng.random() < 0.3:
                store = open_store(Folder(out).below("work"))
            if store.pending(STAY):
                wrong.append(f"pending: {store.pending(STAY)}")
            totals = store.totals(STAY + COME_AND_GO)
            if totals.accepted + totals.rejected.total() + totals.pending != len(STAY + COME_AND_GO):
                wrong.append(str(totals))
            looks[0] += 1
        except Exception as error:
            wrong.append(repr(error))


def fill(out: str) -> None:
    work = Folder(out).below("work")
    store = open_store(work)
    with held(work):
        for i in range(0, len(STAY), 8):
            store.write([accepted(k, KEYS.index(k)) for k in [*STAY[i : i + 8], *COME_AND_GO[i : i + 8]]])


def test_readers_beside_another_process_that_writes_merges_and_forgets(tmp_path: Path) -> None:
    out, wrong, looks = str(tmp_path), list[str](), [0, 0]
    fill(out)
    writer = multiprocessing.get_context("spawn").Process(target=change, args=(out, 1))
    writer.start()
    readers = [
        threading.Thread(target=look, args=(out, seed, lambda: not writer.is_alive(), wrong, looks)) for seed in (2, 3)
    ]
    for reader in readers:
        reader.start()
    for thread in (*readers, writer):
        thread.join()
    assert writer.exitcode == 0
    assert wrong == []
    assert looks[0] > 20


def test_an_index_from_before_a_merger_reads_on(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    old = open_store(Folder(out).below("work"))
    scan = old.scan()
    begun = next(scan)
    with held(Folder(out).below("work")):
        writer = open_store(Folder(out).below("work"))
        for i in range(rows.COMPACT_ABOVE):
            writer.write([accepted(KEYS[200 + i], 200 + i)])
        writer.compact()
        assert len(writer.folder.names()) == 1
    seen = [row.key for piece in (begun, *scan) for row in piece]
    assert len(seen) == len(set(seen)) and set(STAY) <= set(seen)
    assert [p.distance for p in old.payloads(STAY)] == list(range(len(STAY)))
    assert old.pending(KEYS[200 : 200 + rows.COMPACT_ABOVE]) == []


def test_a_row_that_was_forgotten_is_gone_for_old_indexes_too(tmp_path: Path) -> None:
    out = str(tmp_path)
    fill(out)
    old = open_store(Folder(out).below("work"))
    with held(Folder(out).below("work")):
        open_store(Folder(out).below("work")).forget(STAY[:8])
    with pytest.raises(KeyError, match=STAY[3]):
        old.read([STAY[3], STAY[20]])
    assert old.pending(STAY) == STAY[:8]
    assert old.payloads([STAY[20]])[0].distance == 20


def test_a_part_that_is_listed_and_never_there_ends_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WAIT_S", 0)
    out = str(tmp_path)
    fill(out)
    store = open_store(Folder(out).below("work"))
    (tmp_path / "work" / CHUNK / "part-0.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InfrastructureError, match="vanish as fast"):
        store.refresh()
    assert store.payloads(STAY[:1])[0].distance == 0


def test_a_listing_that_missed_a_merger_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be listed while the old parts go and the new one comes, and show neither."""
    out = str(tmp_path)
    fill(out)
    names, listings = Folder.names, list[list[str]]()

    def listed(folder: Folder, name: str | None = None) -> list[str]:
        found = names(folder, name)
        listings.append(found)
        return found[:2] if len(listings) == 2 else found

    store = open_store(Folder(out).below("work"))
    monkeypatch.setattr(Folder, "names", listed)
    store.refresh()
    assert len(listings) > 2
    assert store.pending(STAY) == []


def test_two_workers_agree_on_where_the_rows_of_their_batch_lie(work: Folder) -> None:
    one, two = open_store(work), open_store(work)
    one.write([accepted(KEYS[0], 0), accepted(KEYS[1], 1)])
    two.write([accepted(KEYS[1], 1), accepted(KEYS[0], 0)])
    assert [one.payloads([key])[0].distance for key in KEYS[:2]] == [0, 1]
