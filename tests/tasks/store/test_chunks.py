"""All chunks of a stage: new rows make chunks of their own, and what changes in one needs its lease."""

import threading
from pathlib import Path

import pytest

from schemas import Deduped, Row
from tasks.errors import UserError
from tasks.store.chunks import StageView, chunk_names, next_chunks
from tasks.store.folder import Folder
from tasks.store.index import Link
from tasks.store.lease import lease
from tasks.store.parts import TORN
from tests.tasks.store.made import KEYS, STAGE, accepted, failed, held, open_store, rejected


@pytest.fixture
def work(tmp_path: Path) -> Folder:
    """Nobody holds anything there."""
    return Folder(str(tmp_path / "work"))


def view(work: Folder, link: Link | None = None) -> StageView[Deduped]:
    return StageView(work, STAGE, Deduped, link)


def append(work: Folder, rows: list[Row[Deduped]], size: int = 2) -> StageView[Deduped]:
    with held(work, STAGE):
        store = view(work)
        store.append(rows, size)
    return store


def contents(work: Folder) -> dict[str, bytes]:
    return {name: work.read(f"{STAGE}/{name}") for name, _ in work.walk(STAGE)}


def keys_of(store: StageView[Deduped]) -> dict[str, set[str]]:
    return {name: chunk.keys() for name, chunk in store.chunks.items()}


@pytest.fixture
def grown(work: Folder) -> StageView[Deduped]:
    """Three chunks: rows 0 and 1, 2 and 3 of which the last is rejected, and 4."""
    append(work, [accepted(KEYS[0], 0), accepted(KEYS[1], 1), accepted(KEYS[2], 2), rejected(KEYS[3])])
    append(work, [accepted(KEYS[4], 4)])
    return view(work)


def test_names_of_chunks_are_in_the_order_of_their_numbers() -> None:
    names = ["100000", "00002", "99999", "tally-0.json", "0001", "listing.parquet", "00010"]
    assert chunk_names(names) == ["00002", "00010", "99999", "100000"]
    after = next_chunks(["00002", "99999"])
    assert [next(after), next(after)] == ["100000", "100001"]
    assert next(next_chunks([])) == "00000"


def test_rows_are_cut_by_size_in_their_order(work: Folder) -> None:
    order = [KEYS[n] for n in (5, 1, 4, 0, 3)]
    store = append(work, [accepted(key) for key in order])
    for seen in (store, view(work)):
        assert keys_of(seen) == {"00000": set(order[:2]), "00001": set(order[2:4]), "00002": set(order[4:])}


def test_what_comes_later_makes_chunks_of_its_own_and_touches_no_other(work: Folder) -> None:
    append(work, [accepted(key) for key in KEYS[:3]])
    before = contents(work)
    append(work, [accepted(key) for key in KEYS[5:8]])
    after = contents(work)
    assert {name: after[name] for name in before} == before
    assert list(keys_of(view(work)).values()) == [set(KEYS[:2]), {KEYS[2]}, set(KEYS[5:7]), {KEYS[7]}]
    append(work, [])
    assert contents(work) == after


def test_new_chunks_are_made_only_by_who_holds_the_stage(work: Folder) -> None:
    with pytest.raises(AssertionError, match="only under its lease"):
        view(work).append([accepted(KEYS[0])], 2)
    with held(work, f"{STAGE}/00000"), pytest.raises(AssertionError):
        view(work).append([accepted(KEYS[0])], 2)
    assert contents(work) == {}


def test_all_chunks_are_looked_at_as_one(work: Folder, grown: StageView[Deduped]) -> None:
    assert len(grown) == 5 and KEYS[4] in grown and KEYS[5] not in grown and grown.keys() == set(KEYS[:5])
    assert grown.accepted() == [KEYS[n] for n in (0, 1, 2, 4)] and grown.rejected() == {KEYS[3]: "near_duplicate"}
    assert grown.pending([KEYS[9], KEYS[0], KEYS[8]]) == [KEYS[9], KEYS[8]]
    asked = [KEYS[n] for n in (4, 0, 2)]
    assert [row.key for row in grown.read(asked)] == asked
    assert [payload.distance for payload in grown.payloads(asked)] == [4, 0, 2]
    assert [grown.chunk_of(key) for key in asked] == ["00002", "00000", "00001"]
    assert sorted(row.key for rows in grown.scan() for row in rows) == KEYS[:5]
    leaves = {row["key"]: row["payload"] for row in grown.columns(["payload.distance"])}
    assert leaves == {KEYS[n]: None if n == 3 else {"distance": n} for n in range(5)}
    for ask in (lambda: grown.read(KEYS[4:6]), lambda: grown.chunk_of(KEYS[5])):
        with pytest.raises(KeyError):
            ask()
    with pytest.raises(ValueError, match="was rejected at dedupe"):
        grown.payloads(KEYS[2:4])


def test_links_are_those_of_all_chunks(work: Folder) -> None:
    link = Link("payload.nearest", lambda payload: [payload["nearest"]])
    append(work, [accepted(KEYS[n], nearest=KEYS[20 - n]) for n in range(4)])
    store = view(work, link)
    assert store.links() == {KEYS[20 - n]: KEYS[n] for n in range(4)} and list(store.links()) == sorted(store.links())


def test_rows_are_forgotten_where_they_are(work: Folder, grown: StageView[Deduped]) -> None:
    with held(work, f"{STAGE}/00001"):
        grown.chunks["00001"].write([failed(KEYS[7])])
    before = contents(work)
    assert grown.forget([KEYS[1], KEYS[4], KEYS[7], KEYS[8]]) == 3
    for seen in (grown, view(work)):
        assert keys_of(seen) == {"00000": {KEYS[0]}, "00001": {KEYS[2], KEYS[3]}, "00002": set()}
        assert seen.chunks["00001"].failures(KEYS[7]) == 0
    changed = {name for name, data in before.items() if contents(work).get(name) != data}
    assert {name.partition("/")[0] for name in changed} == {"00000", "00001", "00002"}
    before = contents(work)
    assert grown.forget([KEYS[8]]) == 0 and grown.forget([]) == 0 and contents(work) == before


def test_a_chunk_whose_rows_are_all_gone_keeps_its_number(work: Folder, grown: StageView[Deduped]) -> None:
    grown.forget([KEYS[4]])
    append(work, [accepted(KEYS[6])])
    assert keys_of(view(work))["00003"] == {KEYS[6]}


def test_a_chunk_at_work_is_left_alone_and_told(work: Folder, grown: StageView[Deduped]) -> None:
    before, busy, end = contents(work), threading.Event(), threading.Event()

    def at_work() -> None:
        with lease(work, f"{STAGE}/00001"):
            busy.set()
            end.wait()

    thread = threading.Thread(target=at_work)
    thread.start()
    busy.wait()
    try:
        with pytest.raises(UserError, match=r"dedupe is at work on chunk 00001 \(.*process \d+\): wait"):
            grown.forget([KEYS[2]])
        assert contents(work) == before
        assert grown.forget([KEYS[0]]) == 1, "the others may be changed"
    finally:
        end.set()
        thread.join()
    assert grown.forget([KEYS[2]]) == 1


def test_damage_is_told_of_all_chunks_and_set_aside_in_each(work: Folder, grown: StageView[Deduped]) -> None:
    parts = [name for name in contents(work) if name.startswith(("00000/", "00002/"))]
    for name in parts:
        work.write(f"{STAGE}/{name}", b"not Parquet")
    store = view(work)
    assert len(store.damaged) == 2 and store.accepted() == [KEYS[2]]
    assert len(store.mend()) == 2 and store.damaged == [] and store.mend() == []
    assert sum(TORN in name for name in contents(work)) == 2
    assert view(work).damaged == [] and open_store(work, f"{STAGE}/00001").accepted() == [KEYS[2]]
