"""Looking at a store never changes it; only what is damaged for certain is set aside, by who holds the lease."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.memory import MemoryFileSystem

from schemas import Captioned
from tasks.errors import InfrastructureError, StopRun, UserError
from tasks.store.folder import Folder
from tasks.store.lease import LEASES
from tasks.store.parts import TORN, DamagedPart
from tasks.store.rows import COMPACT_ABOVE, StageStore
from tests.tasks.store.made import KEYS, accepted, failed, held, open_store, rejected


@pytest.fixture
def two(tmp_path: Path) -> tuple[Folder, Path]:
    """A store of two parts, and the path of the one that holds KEYS[:70]. Nobody holds its lease."""
    work = Folder(str(tmp_path)).below("work")
    store = open_store(work)
    with held(work):
        store.write([accepted(key, i) for i, key in enumerate(KEYS[:70])])
        (name,) = store.folder.names()
        store.write([accepted(KEYS[70], 70), rejected(KEYS[71])])
    return work, Path(store.folder.path(name))


def contents(path: Path) -> dict[str, bytes]:
    """Of all files but the locks."""
    files = (p.relative_to(path) for p in sorted(path.rglob("*")) if p.is_file())
    return {str(p): (path / p).read_bytes() for p in files if p.parts[0] != LEASES}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_in_page(path: Path, leaf: str = "distance") -> None:
    """Turn a bit within the data of the last page of a column, which an index does not read."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    (column,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.endswith(leaf)]
    first = column.dictionary_page_offset or column.data_page_offset
    flip(path, first + column.total_compressed_size - 1)


def flip(path: Path, place: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


BAD_BYTES: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "no end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another file": lambda path: path.write_bytes(b"not Parquet at all"),
    "a key's bit": lambda path: flip_in_page(path, "key"),
}


@pytest.mark.parametrize("how", [*BAD_BYTES, "page"])
def test_a_look_changes_nothing_and_tells(two: tuple[Folder, Path], how: str) -> None:
    work, part = two
    BAD_BYTES.get(how, flip_in_page)(part)
    before = contents(Path(work.root))
    store = open_store(work)
    if how == "page":
        assert store.damaged == {}
        with pytest.raises(DamagedPart, match=f"{part.name} is damaged"):
            store.read(KEYS[:1])
    (told,) = store.damaged.values()
    assert part.name in told and "\n" not in told and "pending" in told
    assert store.pending(KEYS[:72]) == KEYS[:70]
    assert [row.key for rows in store.scan() for row in rows] == KEYS[70:72]
    assert store.payloads(KEYS[70:71])[0].distance == 70
    with pytest.raises(InfrastructureError, match="is damaged"):
        store.payloads(KEYS[:1])
    store.refresh()
    assert store.pending(KEYS[:72]) == KEYS[:70]
    assert contents(Path(work.root)) == before


@pytest.mark.parametrize("how", [*BAD_BYTES, "page"])
def test_the_holder_of_the_lease_sets_damage_aside(two: tuple[Folder, Path], how: str) -> None:
    work, part = two
    BAD_BYTES.get(how, flip_in_page)(part)
    bad = part.read_bytes()
    store = open_store(work)
    if how == "page":
        with pytest.raises(DamagedPart):
            list(store.scan())
    with pytest.raises(AssertionError, match="only under its lease"):
        store.mend()
    with held(work):
        (told,) = store.mend()
        assert part.name in told and told.startswith("dedupe: ")
        assert store.mend() == []
        store.write([accepted(key, i) for i, key in enumerate(KEYS[:70])])
    assert store.damaged == {}
    assert part.with_name(f"{TORN}{part.name}").read_bytes() == bad and part.read_bytes() != bad
    for view in (store, open_store(work)):
        assert view.pending(KEYS[:72]) == [] and view.damaged == {}
        assert [p.distance for p in view.payloads(KEYS[:70])] == list(range(70))


def test_the_same_batch_done_again_heals_its_part(two: tuple[Folder, Path]) -> None:
    work, part = two
    cut(part)
    store = open_store(work)
    with held(work):
        store.write([accepted(key, i) for i, key in enumerate(KEYS[:70])])
    assert store.damaged == {}
    assert [p.distance for p in store.payloads(KEYS[:70])] == list(range(70))


def other_columns(work: Folder, part: Path) -> None:
    pq.write_table(pa.table({"key": KEYS[:3]}), part)


def other_payload(work: Folder, part: Path) -> None:
    other = StageStore(work, "other/abc123/00000", Captioned)
    with held(work, other.place):
        other.write([failed(KEYS[0])])  # type: ignore[list-item]
    (name,) = other.folder.names()
    part.write_bytes(other.folder.read(name))


def larger_groups(work: Folder, part: Path) -> None:
    pq.write_table(pq.read_table(part), part)


@pytest.mark.parametrize("make", [other_columns, other_payload, larger_groups])
@pytest.mark.parametrize("kind", ["part", "fail"])
def test_a_part_of_another_version_is_an_error_that_says_so(
    two: tuple[Folder, Path], make: Callable[[Folder, Path], None], kind: str
) -> None:
    work, part = two
    store = open_store(work)
    make(work, part)
    part = part.rename(part.with_name(f"{kind}-0.parquet"))
    before = contents(Path(work.root))
    with held(work):
        for look in (lambda: open_store(work), store.refresh, lambda: store.read(KEYS[:1]), lambda: list(store.scan())):
            with pytest.raises(UserError, match=r"-0\.parquet was written by another version.*--out") as told:
                look()
            assert "\n" not in str(told.value)
    assert contents(Path(work.root)) == before


class Flaky(MemoryFileSystem):
    """An object store where reads of parts fail, or end early, while it is told to."""

    protocol = "flaky"
    on_open: Exception | None = None
    on_read: Exception | None = None
    keep: int | None = None

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb" or not path.endswith(".parquet"):
            return super()._open(path, mode, **options)
        if Flaky.on_open:
            raise Flaky.on_open
        stream = super()._open(path, mode, **options)
        data = stream.getvalue()[: Flaky.keep]
        return FlakyFile(data)


class FlakyFile(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        if Flaky.on_read:
            raise Flaky.on_read
        return super().read(size)


class ClientError(Exception):
    """As libraries behind fsspec have: no OSError."""


@pytest.fixture
def out(request: pytest.FixtureRequest) -> str:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    return f"flaky://{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture
def remote(out: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    work = Folder(out).below("work")
    with held(work):
        open_store(work).write([accepted(KEYS[0], 1), accepted(KEYS[1], 2)])
    for name in ("on_open", "on_read", "keep"):
        monkeypatch.setattr(Flaky, name, None)
    return work


PASSING = [
    FSTimeoutError(),
    TimeoutError("timed out"),
    OSError("connection reset"),
    PermissionError(13, "Permission denied"),
    ConnectionError("gone"),
    ClientError("SlowDown"),
    ValueError("of the library's own"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header of the server"),
    pa.ArrowInvalid("from a file system of Arrow"),
]


@pytest.mark.parametrize("where", ["on_open", "on_read"])
def test_what_the_way_raises_in_our_words_is_passed_on_as_it_is(
    remote: Folder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A part that cannot be read for want of credentials stops the run, as anything else does, and is named once."""
    store = open_store(remote)
    name = store.folder.names()[0]
    monkeypatch.setattr(Flaky, where, StopRun(f"{name}: the store refuses the credentials"))
    monkeypatch.setattr("tasks.store.trying.FIRST_WAIT_S", 0)
    with pytest.raises(StopRun) as told:
        store.read(KEYS[:1])
    assert str(told.value).count(name) == 1


@pytest.mark.parametrize("error", PASSING, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", ["on_open", "on_read"])
def test_what_passes_leaves_the_part_alone(
    remote: Folder, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    store = open_store(remote)
    names = store.folder.names()
    monkeypatch.setattr(Flaky, where, error)
    monkeypatch.setattr("tasks.store.trying.FIRST_WAIT_S", 0)
    expected = PermissionError if isinstance(error, PermissionError) else InfrastructureError
    with held(remote):
        for look in (lambda: open_store(remote), lambda: store.read(KEYS[:1]), lambda: list(store.scan())):
            with pytest.raises(expected) as told:
                look()
            assert not isinstance(told.value, DamagedPart)
            assert store.damaged == {}
        assert store.mend() == []
        store.damaged = dict.fromkeys(names, "looked damaged once")
        with pytest.raises(expected):
            store.mend()
    assert store.folder.names() == names
    monkeypatch.setattr(Flaky, where, None)
    assert [p.distance for p in open_store(remote).payloads(KEYS[:2])] == [1, 2]


def test_a_read_that_ended_early_once_is_no_damage_at_the_second_look(
    remote: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flaky, "keep", -20)
    store = open_store(remote)
    assert len(store.damaged) == 1 and store.pending(KEYS[:2]) == KEYS[:2]
    monkeypatch.setattr(Flaky, "keep", None)
    names = store.folder.names()
    with held(remote):
        assert store.mend() == []
    assert store.folder.names() == names
    assert [p.distance for p in store.payloads(KEYS[:2])] == [1, 2]


def test_no_memory_is_no_damage(two: tuple[Folder, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 9 failed")

    work, _ = two
    store = open_store(work)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", exhausted)
    monkeypatch.setattr(pq.ParquetFile, "read", exhausted)
    for look in (lambda: store.read(KEYS[:1]), lambda: open_store(work)):
        with pytest.raises(MemoryError):
            look()
    assert store.damaged == {}


def test_a_bit_flipped_in_any_column_is_found(two: tuple[Folder, Path]) -> None:
    work, part = two
    good = part.read_bytes()
    metadata = pq.ParquetFile(part).metadata
    for g in range(metadata.num_row_groups):
        for c in range(metadata.num_columns):
            column = metadata.row_group(g).column(c)
            first = column.dictionary_page_offset or column.data_page_offset
            flip(part, first + column.total_compressed_size - 1, 1 << (g + c) % 8)
            store = open_store(work)
            with pytest.raises(DamagedPart):
                store.read(KEYS[:70])
            part.write_bytes(good)


def test_any_flipped_bit_is_told_in_our_own_words_or_harmless(two: tuple[Folder, Path]) -> None:
    work, part = two
    good, rng = part.read_bytes(), random.Random(5)
    told = 0
    for _ in range(300):
        flip(part, rng.randrange(len(good)), 1 << rng.randrange(8))
        try:
            store = open_store(work)
            sum(len(table) for table in store._tables(KEYS[:70]))
        except (DamagedPart, UserError):
            told += 1
        else:
            told += bool(store.damaged)
        part.write_bytes(good)
    assert told > 150


def test_compaction_sets_a_damaged_part_aside_and_loses_no_other_row(work: Folder) -> None:
    store = open_store(work)
    for i in range(COMPACT_ABOVE + 2):
        store.write([accepted(KEYS[i], i)])
    part = Path(store.folder.path(store.folder.names()[3]))
    (key,) = pq.read_table(part)["key"].to_pylist()
    flip_in_page(part)
    store = open_store(work)
    store.compact()  # comes upon it
    assert len(store.mend()) == 1
    rest = [k for k in KEYS[: COMPACT_ABOVE + 2] if k != key]
    for view in (store, open_store(work)):
        assert view.accepted() == rest
        assert [KEYS[p.distance or 0] for p in view.payloads(rest)] == rest
    assert f"{TORN}{part.name}" in store.folder.names()
    store.compact()
    assert open_store(work).accepted() == rest


def test_writing_and_taking_away_need_the_lease(two: tuple[Folder, Path]) -> None:
    work, _ = two
    store = open_store(work)
    before = contents(Path(work.root))
    acts = (lambda: store.write([accepted(KEYS[99])]), lambda: store.forget(KEYS[:1]), store.compact, store.mend)
    for act in acts:
        with pytest.raises(AssertionError, match="only under its lease"):
            act()
    assert contents(Path(work.root)) == before


def test_damage_that_another_set_aside_is_told_no_longer(two: tuple[Folder, Path]) -> None:
    work, part = two
    cut(part)
    reader, writer = open_store(work), open_store(work)
    assert reader.damaged
    with held(work):
        writer.mend()
    reader.refresh()
    assert reader.damaged == {}


def test_text_that_is_none_is_damage_though_its_checksum_is_right(two: tuple[Folder, Path]) -> None:
    work, part = two
    table = pq.read_table(part)
    details = pa.array([b"\xff"] * len(table)).view(pa.binary())
    text = pa.StringArray.from_buffers(len(table), *details.buffers()[1:])
    table = table.set_column(table.schema.get_field_index("detail"), table.schema.field("detail"), text)
    pq.write_table(table, part, row_group_size=64, write_page_checksum=True)
    store = open_store(work)
    with pytest.raises(DamagedPart, match=part.name):
        store.read(KEYS[:1])
    assert store.pending(KEYS[:1]) == KEYS[:1]
