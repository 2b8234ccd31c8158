"""Select over a small store: what another caption table, or another video, changes about what was decided before."""

import hashlib
from pathlib import Path

import pytest

from flows.batches import run_batch
from flows.context import SPECS, Context
from flows.settings import load_settings
from schemas import Reason
from tasks.select.sidecar import NAMED_ORPHANS
from tasks.select.stage import BY_TABLE
from tasks.store.lock import build_lock


class Bucket:
    """A folder of files that only need to be hashed, and their caption table."""

    def __init__(self, folder: Path) -> None:
        self.raw, self.table, self.out = folder / "raw", folder / "captions.csv", folder / "out"
        self.raw.mkdir()

    def put(self, *names: str) -> None:
        for name in names:
            (self.raw / name).write_text(f"content of {name}")

    def select(self, rows: dict[str, str], *sets: str) -> dict[str, str]:
        """Write the table, do scan and select as a build of its own would, and give each file's end by name."""
        self.table.write_text("video,caption\n" + "".join(f"{name},{text}\n" for name, text in rows.items()))
        given = {"source": str(self.raw), "captions": str(self.table), "out": str(self.out)}
        self.build = Context(load_settings("local", list(sets), **given))
        run_batch(self.build, "scan", list(self.build.listing))
        with build_lock(self.build.settings.out):
            SPECS["select"].whole(self.build.at_work("select"))
        store = self.build.store("select")
        return {f.name: store.reason_of(k) or "accepted" for k, f in self.build.listing.items() if k in store}

    def orphans(self) -> list[str]:
        """Details of the rows on record that are no file's."""
        store = self.build.store("select")
        keys = [k for k in store.rejected() if k not in self.build.listing]
        return sorted(row.detail for row in store.read(keys))


@pytest.fixture
def bucket(tmp_path):
    return Bucket(tmp_path)


@pytest.mark.parametrize(
    ("before", "ended"),
    [
        ({"b.mp4": "B."}, "no_caption"),
        ({"a.mp4": "", "b.mp4": "B."}, "no_caption"),
        ({"a.mp4": "A \x1b man.", "b.mp4": "B."}, "bad_caption"),
        ({"a.mp4": "One.", "./a.mp4": "Two.", "b.mp4": "B."}, "bad_caption"),
    ],
)
def test_another_table_lifts_what_an_earlier_one_caused(bucket, before, ended):
    bucket.put("a.mp4", "b.mp4")
    assert bucket.select(before) == {"a.mp4": ended, "b.mp4": "accepted"}
    assert bucket.select(before) == {"a.mp4": ended, "b.mp4": "accepted"}
    assert bucket.select({"a.mp4": "A.", "b.mp4": "B."}) == {"a.mp4": "accepted", "b.mp4": "accepted"}
    assert bucket.orphans() == []


def test_a_changed_caption_is_told_and_no_longer_when_it_is_back(bucket):
    bucket.put("a.mp4")
    bucket.select({"a.mp4": "A."})
    assert bucket.select({"a.mp4": "Other."}) == {"a.mp4": "accepted"}
    assert len(bucket.orphans()) == 1 and "has changed" in bucket.orphans()[0]
    bucket.select({"a.mp4": "A."})
    assert bucket.orphans() == []


def test_a_caption_that_too_many_share_is_lifted_by_a_table_that_tells_them_apart(bucket):
    names = [f"{n}.mp4" for n in range(6)]
    bucket.put(*names)
    shared = dict.fromkeys(names, "Somebody pushes a box.")
    assert set(bucket.select(shared).values()) == {"shared_caption"}
    bucket.put("later.mp4")
    assert set(bucket.select(shared | {"later.mp4": "Somebody pushes a box."}).values()) == {"shared_caption"}
    own = {name: f"Somebody pushes box {name}." for name in names}
    assert set(bucket.select(own).values()) == {"accepted", "no_caption"}


def test_one_more_video_with_a_shared_caption_ends_as_those_before_it(bucket):
    names = [f"{n}.mp4" for n in range(7)]
    table = dict.fromkeys(names, "Somebody pushes a box.")
    bucket.put(*names[:6])
    bucket.select(table)
    bucket.put(names[6])
    assert set(bucket.select(table).values()) == {"shared_caption"}


def test_what_is_no_matter_of_the_table_stays(bucket):
    bucket.put("a.mp4")
    (bucket.raw / "b.mp4").write_text("content of a.mp4")
    assert bucket.select({"a.mp4": "A."})["b.mp4"] == "duplicate"
    assert bucket.select({"a.mp4": "A.", "b.mp4": "B."})["b.mp4"] == "duplicate"
    assert Reason.DUPLICATE not in BY_TABLE


def test_a_caption_without_a_video_is_on_record_until_the_video_comes(bucket):
    bucket.put("a.mp4")
    table = {"a.mp4": "A.", "b.mp4": "B.", "c.mp4": "C \x1b."}
    bucket.select(table)
    assert len(bucket.orphans()) == 2
    bucket.put("b.mp4", "c.mp4")
    assert bucket.select(table) == {"a.mp4": "accepted", "b.mp4": "accepted", "c.mp4": "bad_caption"}
    assert bucket.orphans() == []


def test_a_caption_without_a_video_goes_with_the_table_that_held_it(bucket):
    bucket.put("a.mp4")
    bucket.select({"a.mp4": "A.", "gone.mp4": "G.", "bad.mp4": "B \x1b."})
    assert len(bucket.orphans()) == 2
    bucket.select({"a.mp4": "A."})
    assert bucket.orphans() == []


def test_a_table_far_larger_than_the_bucket_puts_few_rows_on_record(bucket):
    names = [f"v{n:05}.mp4" for n in range(NAMED_ORPHANS + 200)]
    bucket.put(names[-1])
    table = {name: f"Caption of {hashlib.md5(name.encode()).hexdigest()}." for name in names}
    assert bucket.select(table) == {names[-1]: "accepted"}
    assert len(bucket.orphans()) == NAMED_ORPHANS + 1 and bucket.orphans()[0].startswith("199 further")
    bucket.put(names[0], names[-2])
    assert set(bucket.select(table).values()) == {"accepted"}
    assert len(bucket.orphans()) == NAMED_ORPHANS + 1 and bucket.orphans()[0].startswith("197 further")
