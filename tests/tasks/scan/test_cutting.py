"""A listing is cut into chunks once: what is new goes into new ones, what was cut stays where it is."""

import pathlib
import random

import pytest

from tasks.errors import UserError
from tasks.scan.cutting import LISTED, LISTING, cut_listing, files_of, listing_of
from tasks.scan.listing import Found
from tasks.store.folder import Folder


def file(number: int, version: str = "1") -> Found:
    return Found(f"/bucket/{number:03d} ☂.mp4", f"{number:03d} ☂.mp4", 10 + number, version, known=number % 2 == 0)


@pytest.fixture
def scan(tmp_path):
    return Folder(str(tmp_path / "scan"))


def chunks(scan: Folder) -> dict[str, list[Found]]:
    return {name: list(files_of(scan.below(name))) for name in scan.names() if name.isdigit()}


def test_files_are_cut_in_their_order_and_come_back_as_they_were(scan):
    found = [file(n) for n in range(7)]
    assert list(listing_of(scan)) == []
    assert cut_listing(found, scan, 3) == 7
    assert chunks(scan) == {"00000": found[:3], "00001": found[3:6], "00002": found[6:]}
    assert list(listing_of(scan)) == found


def test_what_is_new_makes_chunks_of_its_own_and_touches_no_other(scan):
    cut_listing([file(n) for n in range(10, 15)], scan, 3)
    before = {name: scan.read(f"{name}/{LISTED}") for name in chunks(scan)}
    everything = [file(n) for n in range(20)]
    assert cut_listing(everything, scan, 4) == 15
    new = [file(n) for n in (*range(10), *range(15, 20))]
    assert list(chunks(scan).values())[2:] == [new[i : i + 4] for i in range(0, 15, 4)]
    assert {name: scan.read(f"{name}/{LISTED}") for name in before} == before
    assert list(listing_of(scan)) == everything


def test_another_version_of_a_file_is_another_file_and_one_that_is_gone_stays_in_its_chunk(scan):
    cut_listing([file(0), file(1)], scan, 9)
    assert cut_listing([file(1, "2")], scan, 9) == 1
    assert chunks(scan) == {"00000": [file(0), file(1)], "00001": [file(1, "2")]}
    assert list(listing_of(scan)) == [file(1, "2")]


def test_nothing_new_cuts_nothing(scan):
    found = [file(n) for n in range(5)]
    cut_listing(found, scan, 2)
    before = {name: scan.read(name) for name, _ in scan.walk()}
    assert cut_listing(found, scan, 2) == 0
    assert {name: scan.read(name) for name, _ in scan.walk()} == before
    assert cut_listing(found[:4], scan, 2) == 0
    changed = {name for name, data in before.items() if scan.read(name) != data}
    assert changed == {LISTING} and len(list(scan.walk())) == len(before)


def test_any_growth_has_every_file_in_one_chunk(scan):
    rng = random.Random(3)
    seen: set[int] = set()
    for _ in range(12):
        found = sorted(rng.sample(range(90), 25))
        assert cut_listing([file(n) for n in found], scan, rng.randint(1, 9)) == len(set(found) - seen)
        seen |= set(found)
    held = [f for files in chunks(scan).values() for f in files]
    assert len(held) == len(seen) == len({f.key for f in held})
    assert list(chunks(scan)) == [f"{n:05d}" for n in range(len(chunks(scan)))]


def test_a_chunk_that_was_cut_before_a_kill_is_not_cut_again(scan, monkeypatch):
    found, write = [file(n) for n in range(6)], Folder.write

    def killed(folder: Folder, name: str, data: bytes) -> None:
        if name == f"00001/{LISTED}":
            raise KeyboardInterrupt
        write(folder, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            cut_listing(found, scan, 2)
    assert list(chunks(scan)) == ["00000"]
    assert cut_listing(found, scan, 2) == 4
    assert chunks(scan) == {"00000": found[:2], "00001": found[2:4], "00002": found[4:]}


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[::-1]])
def test_a_damaged_listing_is_named_with_what_to_do(scan, spoil):
    cut_listing([file(n) for n in range(3)], scan, 3)
    scan.write(f"00000/{LISTED}", spoil(scan.read(f"00000/{LISTED}")))
    with pytest.raises(UserError, match=rf"scan/00000/{LISTED} is damaged: put it back from a backup, or build into"):
        list(files_of(scan.below("00000")))


def everything(scan: Folder) -> dict[str, bytes]:
    return {name: scan.read(name) for name, _ in scan.walk()}


def test_a_listing_that_is_as_before_costs_one_look_at_it(scan, monkeypatch):
    found = [file(n) for n in range(7)]
    cut_listing(found, scan, 3)
    before, read = everything(scan), []
    plain = Folder.read
    monkeypatch.setattr(Folder, "read", lambda folder, name: read.append(name) or plain(folder, name))
    assert cut_listing(iter(found), scan, 3) == 0
    assert set(read) == {LISTING}
    monkeypatch.undo()
    assert everything(scan) == before


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_and_goes_each_file_is_cut_once_and_the_listing_is_what_is_there(scan, seed):
    chance, there, ever = random.Random(seed), [], set()
    for _ in range(6):
        kept = {f for f in there if chance.random() > 0.2}
        there = sorted(kept | {file(chance.randrange(30)) for _ in range(chance.randrange(4))}, key=lambda f: f.name)
        new = {f.key for f in there} - ever
        assert cut_listing(iter(there), scan, 3) == len(new)
        ever |= new
        assert list(listing_of(scan)) == there
        cut = [f.key for some in chunks(scan).values() for f in some]
        assert len(cut) == len(set(cut)) and set(cut) == ever


def test_a_chunk_that_is_gone_and_a_damaged_listing_are_made_again(scan):
    found = [file(n) for n in range(7)]
    cut_listing(found, scan, 3)
    before = everything(scan)
    scan.remove(f"00002/{LISTED}")
    (pathlib.Path(scan.root) / "00002").rmdir()
    assert cut_listing(found, scan, 3) == 1
    scan.write(LISTING, before[LISTING][:-20])
    assert cut_listing(found, scan, 3) == 0
    assert everything(scan) == before
