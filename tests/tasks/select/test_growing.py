"""Select over a small store: what another caption table, or another video, changes about what was decided before."""

import hashlib
from pathlib import Path

import pytest

from flows.batches import run_batch
from flows.chunk import Chunk
from flows.context import Context
from flows.legs import SPECS
from flows.settings import load_settings
from schemas import Reason
from tasks.scan.cutting import cut_listing
from tasks.select.sidecar import NAMED_ORPHANS
from tasks.select.stage import BY_TABLE


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
        build = self.build = Context(load_settings("local", list(sets), **given))
        cut_listing(build.list_source(), build.folder.below(build.place("scan")), build.settings.run.chunk)
        for name in build.survey().chunks("scan"):
            with build.lease("scan", name):
                chunk = Chunk(build, name)
                run_batch(chunk, "scan", chunk.pending("scan"))
        with build.lease("select"):
            SPECS["select"].whole(build.at_work("select"))
        store = build.store("select")
        return {f.name: store.rejected().get(f.key, "accepted") for f in self.listed() if f.key in store}

    def listed(self):
        return list(self.build.at_work("select").listed())

    def orphans(self) -> list[str]:
        """Details of the rows on record that are no file's."""
        store, files = self.build.store("select"), {f.key for f in self.listed()}
        keys = [k for k in store.rejected() if k not in files]
        return sorted(row.detail for row in store.read(keys))


@pytest.fixture
def bucket(tmp_path):
    return Bucket(tmp_path)


def chunks_of(bucket):
    """What stands in each chunk of select: names of files, and captions without one."""
    names = {f.key: f.name for f in bucket.listed()}
    store = bucket.build.store("select")
    rows = {name: [row for some in chunk.scan() for row in some] for name, chunk in store.chunks.items()}
    return {name: {names.get(row.key, "caption") for row in some} for name, some in rows.items()}


def test_files_are_cut_into_chunks_by_name_once_and_captions_without_a_video_come_last(bucket):
    names = [f"{n}.mp4" for n in range(5)]
    bucket.put(*names)
    table = {name: f"Caption {name}." for name in [*names, "gone.mp4"]}
    bucket.select(table, "run.chunk=2")
    first = {"00000": {"0.mp4", "1.mp4"}, "00001": {"2.mp4", "3.mp4"}, "00002": {"4.mp4", "caption"}}
    assert chunks_of(bucket) == first
    bucket.put("00.mp4", "z.mp4")
    parts = {name: chunk.folder.names() for name, chunk in bucket.build.store("select").chunks.items()}
    bucket.select(table | {"00.mp4": "More.", "z.mp4": "Last."}, "run.chunk=2")
    assert chunks_of(bucket) == {**first, "00002": {"4.mp4"}, "00003": {"00.mp4", "z.mp4"}, "00004": {"caption"}}
    after = {name: chunk.folder.names() for name, chunk in bucket.build.store("select").chunks.items()}
    assert {name: after[name] for name in ("00000", "00001")} == {name: parts[name] for name in ("00000", "00001")}


def test_another_table_changes_the_chunks_of_no_file_that_it_does_not_concern(bucket):
    names = [f"{n}.mp4" for n in range(4)]
    bucket.put(*names)
    table = {name: f"Caption {name}." for name in names[1:]}
    bucket.select(table, "run.chunk=2")
    assert bucket.select(table | {"0.mp4": "It has one now."}, "run.chunk=2") == dict.fromkeys(names, "accepted")
    assert chunks_of(bucket) == {"00000": {"1.mp4"}, "00001": {"2.mp4", "3.mp4"}, "00002": {"0.mp4"}}


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
