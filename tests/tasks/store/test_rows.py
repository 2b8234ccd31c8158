"""The store: parts whole or absent, nothing lost, nothing doubled."""

import threading

import pyarrow.parquet as pq
import pytest

from schemas import Deduped, Reason, Usage
from tasks.store.folder import Folder
from tasks.store.index import Link
from tasks.store.parts import PART
from tasks.store.rows import COMPACT_ABOVE, StageStore, _name
from tests.tasks.store.made import CHUNK, KEYS, STAGE, accepted, failed, held, open_store, rejected


def test_rows_come_back_in_the_order_asked(work):
    store = open_store(work)
    store.write([accepted(KEYS[1], 7), rejected(KEYS[0])])
    store.write([accepted(KEYS[2], 9)])
    again = open_store(work)
    assert [r.key for r in again.read([KEYS[2], KEYS[0], KEYS[1]])] == [KEYS[2], KEYS[0], KEYS[1]]
    assert [p.distance for p in again.payloads([KEYS[2], KEYS[1]])] == [9, 7]
    assert again.accepted() == [KEYS[1], KEYS[2]]
    assert again.rejected() == {KEYS[0]: "near_duplicate"}
    assert again.pending(KEYS[:5]) == KEYS[3:5]
    totals = again.totals(KEYS[:2])
    assert (totals.accepted, dict(totals.rejected)) == (1, {"near_duplicate": 1})


def test_the_counts_add_up_while_others_write(work):
    """What is accepted, rejected and pending is counted in one look, or a stage would seem to lose clips."""
    store = open_store(work)
    writer = threading.Thread(
        target=lambda: [store.write([accepted(a), rejected(b)]) for a, b in zip(KEYS[::2], KEYS[1::2], strict=True)]
    )
    writer.start()
    looks = 0
    while writer.is_alive():
        totals = store.totals(KEYS)
        assert totals.accepted + sum(totals.rejected.values()) + totals.pending == len(KEYS)
        looks += 1
    writer.join()
    assert looks > 10
    assert store.totals(KEYS).pending == 0


def test_links_lead_back_whatever_the_order_of_parts(work):
    link = Link("payload.nearest", lambda payload: [payload["nearest"]])
    leads = [accepted(KEYS[0], nearest=KEYS[8]), accepted(KEYS[1], nearest=KEYS[9]), accepted(KEYS[2], nearest=KEYS[8])]
    rows = [*leads, rejected(KEYS[3])]
    for number, order in enumerate((rows, rows[::-1]), 1):
        place = f"{STAGE}/{number:05d}"
        store = StageStore(work, place, Deduped, link)
        with held(work, place):
            for row in order:
                store.write([row])
        assert store.links() == {KEYS[8]: KEYS[2], KEYS[9]: KEYS[1]}
        assert store.totals().links == 2
        assert store.leading_to([KEYS[9], KEYS[8], KEYS[9]]) == [KEYS[1], KEYS[2]]
        with pytest.raises(KeyError):
            store.leading_to([KEYS[3]])


def test_rows_of_batches_under_way_are_at_hand_and_no_more_than_those(work, opened):
    store = StageStore(work, CHUNK, Deduped, at_hand=3)
    store.write([accepted(KEYS[0], 0), accepted(KEYS[1], 1)])
    store.write([accepted(KEYS[2], 2), accepted(KEYS[3], 3)])
    opened.clear()
    assert [p.distance for p in store.payloads([KEYS[3], KEYS[1]])] == [3, 1]
    assert opened == []
    assert [p.distance for p in store.payloads([KEYS[0], KEYS[3]])] == [0, 3]
    assert len(opened) == 1
    assert store.payloads([KEYS[0]])[0].distance == 0
    assert len(opened) == 1, "what was read is at hand too"


def test_a_row_at_hand_is_gone_when_its_part_is(work):
    store = StageStore(work, CHUNK, Deduped, at_hand=3)
    store.write([accepted(KEYS[0], 1)])
    other = open_store(work)
    other.forget(KEYS[:1])
    other.write([accepted(KEYS[0], 2), accepted(KEYS[1], 2)])
    store.refresh()
    assert [p.distance for p in store.payloads(KEYS[:2])] == [2, 2]


def in_name_order(*batches):
    """The batches, that first whose part has the first name."""
    return sorted(batches, key=lambda batch: _name(row.key for row in batch))


BOTH = [rejected(KEYS[0]), accepted(KEYS[1], 1)], [accepted(KEYS[0], 2), accepted(KEYS[2], 2)]
"""Two parts that have a row of one clip each."""


@pytest.mark.parametrize("last_first", [False, True])
def test_of_doubled_rows_the_one_in_the_first_part_by_name_counts_in_any_order(work, last_first):
    first, second = in_name_order(*BOTH)
    viewer = StageStore(work, CHUNK, Deduped, at_hand=9)
    store = open_store(work)
    for batch in (second, first) if last_first else (first, second):
        store.write(batch)
        viewer.refresh()
        viewer.read([row.key for row in batch])
    for seen in (store, viewer, open_store(work)):
        assert seen.read([KEYS[0]])[0].status is first[0].status
        assert (KEYS[0] in seen.accepted()) == (first[0].payload is not None)
        assert seen.rejected() == ({} if first[0].payload else {KEYS[0]: "near_duplicate"})
        totals = seen.totals(KEYS[:3])
        assert totals.accepted + totals.rejected.total() == 3 and totals.pending == 0
        assert len([row for rows in seen.scan() for row in rows if row.key == KEYS[0]]) == 1


@pytest.mark.parametrize("last_first", [False, True])
def test_a_doubled_row_leads_where_the_one_that_counts_does(work, last_first):
    link = Link("payload.nearest", lambda payload: [payload["nearest"]])
    first, second = in_name_order(
        [accepted(KEYS[0], nearest=KEYS[8]), accepted(KEYS[1], nearest=KEYS[1])],
        [accepted(KEYS[0], nearest=KEYS[9]), accepted(KEYS[2], nearest=KEYS[2])],
    )
    store = StageStore(work, CHUNK, Deduped, link)
    for batch in (second, first) if last_first else (first, second):
        store.write(batch)
    assert {to for to, by in store.links().items() if by == KEYS[0]} == {first[0].payload.nearest}


@pytest.mark.parametrize("last_first", [False, True])
def test_the_row_on_record_is_the_one_at_hand(work, last_first):
    first, second = in_name_order(
        [accepted(KEYS[0], 1), accepted(KEYS[1], 1)], [accepted(KEYS[0], 2), accepted(KEYS[2], 2)]
    )
    store = StageStore(work, CHUNK, Deduped, at_hand=3)
    for batch in (second, first) if last_first else (first, second):
        store.write(batch)
    assert store.payloads(KEYS[:1]) == open_store(work).payloads(KEYS[:1]) == [first[0].payload]


def test_payloads_of_a_rejected_clip_is_an_error(work):
    store = open_store(work)
    store.write([rejected(KEYS[0])])
    with pytest.raises(ValueError, match="was rejected at dedupe"):
        store.payloads([KEYS[0]])


def test_failed_attempts_leave_the_clip_pending_and_are_counted_over_runs(work):
    store = open_store(work)
    store.write([failed(KEYS[0])])
    store.write([failed(KEYS[0])])
    again = open_store(work)
    assert again.failures(KEYS[0]) == 2
    assert again.pending(KEYS[:1]) == KEYS[:1]


def test_two_workers_on_one_batch_leave_one_part(work):
    one, two = open_store(work), open_store(work)
    one.write([accepted(KEYS[0]), accepted(KEYS[1])])
    two.write([accepted(KEYS[1]), accepted(KEYS[0])])
    assert len([n for n in one.folder.names() if n.startswith(PART)]) == 1
    assert len(open_store(work)) == 2


def test_overlapping_batches_give_one_row_a_clip(work):
    one, two = open_store(work), open_store(work)
    one.write([accepted(KEYS[0]), accepted(KEYS[1])])
    two.write([accepted(KEYS[1]), accepted(KEYS[2])])
    again = open_store(work)
    assert again.totals().accepted == 3
    assert sorted(r.key for rows in again.scan() for r in rows) == KEYS[:3]


def test_temporary_files_are_not_parts(work, tmp_path):
    store = open_store(work)
    store.write([accepted(KEYS[0])])
    (tmp_path / "work" / CHUNK / ".tmp-x-part-1.parquet").write_bytes(b"half")
    assert len(open_store(work)) == 1


def test_forget_makes_clips_pending_again_and_keeps_the_rest(work):
    store = open_store(work)
    store.write([accepted(KEYS[0], 1), rejected(KEYS[1]), rejected(KEYS[2], Reason.POISON)])
    store.write([failed(KEYS[2])])
    assert store.forget([KEYS[2], KEYS[9]]) == 1
    for view in (store, open_store(work)):
        assert view.pending(KEYS[:3]) == [KEYS[2]]
        assert view.failures(KEYS[2]) == 0
        assert view.payloads([KEYS[0]])[0].distance == 1


def test_forget_rewrites_no_part_without_such_rows(work):
    store = open_store(work)
    store.write([accepted(KEYS[0])])
    (other,) = store.folder.names()
    store.write([accepted(KEYS[1]), accepted(KEYS[2])])
    store.forget([KEYS[1]])
    assert other in store.folder.names() and len(store.folder.names()) == 2


def test_compact_keeps_every_row(work):
    store = open_store(work)
    parts = COMPACT_ABOVE + 10
    for i in range(parts):
        store.write([accepted(KEYS[i], i), rejected(KEYS[200 + i])])
    before = [r for rows in store.scan() for r in rows]
    store.compact()
    assert len([n for n in store.folder.names() if n.startswith(PART)]) == 1
    for view in (store, open_store(work)):
        assert [r for rows in view.scan() for r in rows] == before
        assert len(view) == 2 * parts


@pytest.fixture
def opened(monkeypatch):
    """Names of the parts opened for reading, as they are."""
    names: list[str] = []
    real = Folder.open

    def open_and_tell(folder: Folder, name: str):
        names.extend([name] if name.endswith(".parquet") else [])
        return real(folder, name)

    monkeypatch.setattr(Folder, "open", open_and_tell)
    return names


def test_compaction_reads_each_part_once_and_leaves_a_batch_together(work, opened):
    store = open_store(work)
    batches = [KEYS[i :: COMPACT_ABOVE + 1] for i in range(COMPACT_ABOVE + 1)]
    for batch in batches:
        store.write([accepted(key) for key in batch])
    opened.clear()
    store.compact()
    (whole,) = store.folder.names()
    assert len(opened) == len(set(opened)) == len(batches) + 1
    on_disk = pq.ParquetFile(store.folder.path(whole))
    assert on_disk.read(["key"])["key"].to_pylist() == [key for batch in batches for key in batch]
    assert {on_disk.metadata.row_group(g).num_rows for g in range(on_disk.num_row_groups)} == {64, len(KEYS) % 64}


def test_a_kill_between_compaction_and_clean_up_doubles_nothing(work, tmp_path):
    store = open_store(work)
    for i in range(COMPACT_ABOVE + 1):
        store.write([accepted(KEYS[i], i)])
    folder = tmp_path / "work" / CHUNK
    old = {p.name: p.read_bytes() for p in folder.iterdir()}
    store.compact()
    for name, data in old.items():
        (folder / name).write_bytes(data)
    again = open_store(work)
    assert again.totals().accepted == COMPACT_ABOVE + 1
    assert [p.distance for p in again.payloads(KEYS[:5])] == [0, 1, 2, 3, 4]


def test_seconds_are_summed_over_all_rows(work):
    store = open_store(work)
    assert store.totals().seconds == 0
    store.write([accepted(KEYS[0]), accepted(KEYS[1])])
    store.write([failed(KEYS[2]).model_copy(update={"seconds": 0.25})])
    for seen in (store, open_store(work)):
        assert seen.totals().seconds == 1.25


def test_what_servers_cost_is_summed_over_all_rows(work):
    store = open_store(work)
    store.write([accepted(KEYS[0]).model_copy(update={"usage": Usage(requests=2, prompt_tokens=70, cost=0.5)})])
    store.write(
        [rejected(KEYS[1]).model_copy(update={"usage": Usage(requests=1, completion_tokens=9)}), accepted(KEYS[2])]
    )
    for seen in (store, open_store(work)):
        assert seen.totals().usage == Usage(requests=3, prompt_tokens=70, completion_tokens=9, cost=0.5)
    store.forget([KEYS[0], KEYS[1]])
    assert store.totals().usage is None


def test_a_row_read_while_its_part_is_replaced_is_not_kept_at_hand(work, monkeypatch):
    store = StageStore(work, CHUNK, Deduped, at_hand=3)
    open_store(work).write([accepted(KEYS[0], 1), accepted(KEYS[1], 1)])
    store.refresh()
    real, replaced = Folder.open, []

    def open_and_replace(folder, name):
        stream = real(folder, name)
        if not replaced:
            replaced.append(name)
            other = open_store(work)
            other.forget(KEYS[:1])
            other.write([accepted(KEYS[0], 2)])
            store.refresh()
        return stream

    monkeypatch.setattr(Folder, "open", open_and_replace)
    assert store.payloads(KEYS[:1])[0].distance == 1, "the read had begun"
    assert store.payloads(KEYS[:1])[0].distance == 2


@pytest.mark.parametrize("dies", ["create", "remove", None])
def test_a_row_that_is_replaced_is_never_missing(work, monkeypatch, dies):
    """Wherever a kill strikes, somebody who looks finds one row of the clip, and doing it again ends with the new."""
    store = open_store(work)
    store.write([accepted(KEYS[0], 7), accepted(KEYS[1], 8)])
    if dies:
        with monkeypatch.context() as broken:
            broken.setattr(Folder, dies, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                store.replace(rejected(KEYS[0]))
    assert open_store(work).pending(KEYS[:2]) == []
    again = open_store(work)
    again.replace(rejected(KEYS[0]))
    assert open_store(work).rejected() == again.rejected() == {KEYS[0]: "near_duplicate"}
    assert [row["key"] for row in open_store(work).columns(["status"])] == KEYS[:2]
