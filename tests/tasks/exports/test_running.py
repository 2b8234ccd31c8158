"""Exports go on where they were killed, refuse what is not theirs, and lose nothing in silence."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tasks.dataset.reader import DatasetError
from tasks.errors import UserError
from tasks.exports.coco import Coco
from tasks.exports.hub import Hub
from tasks.exports.labels import Labels
from tasks.exports.matrix import Matrix
from tasks.exports.matrix_import import read_metadata
from tasks.exports.opening import open_dataset
from tasks.exports.running import EXPORT_FILE, LEFT_OUT, WORK, Format, export
from tasks.exports.sav import Sav
from tasks.exports.tables import Csv, write_table
from tasks.ingest.stage import IngestSettings
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset
from tests.labels import write_labels


class Killed(Exception):
    """As the process had died."""


def small(form: type, dest: Path, *more: object, dies_at: int = 0, die=None) -> Format:
    """The format in blocks of two samples, and a line after which `die` is called; 0 for none."""

    class Small(form):
        block = 2

        def write(self, items):
            nonlocal dies_at
            for line in super().write(items):
                dies_at -= 1
                if not dies_at:
                    die()
                yield line

    return Small(Folder(str(dest)), *more)


def killed() -> None:
    raise Killed


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("form", "more"),
    [(Sav, ()), (Matrix, ()), (Coco, ()), (Csv, ()), (Hub, ()), (Labels, (IngestSettings(),))],
    ids=lambda value: getattr(value, "name", ""),
)
def test_goes_on_where_it_was_killed(data, tmp_path, form, more):
    cut, told = tmp_path / "cut", list[tuple[int, int]]()
    whole = small(form, tmp_path / "whole", *more)
    found = export(data, whole, tell=lambda done, total: told.append((done, total)))
    assert found["clips"] == 6 and found["left_out"] == {} and told == [(2, 6), (4, 6), (6, 6)]
    for dies_at in (4, 3):
        with pytest.raises(Killed):
            export(data, small(form, cut, *more, dies_at=dies_at, die=killed))
        assert not (cut / EXPORT_FILE).exists()
        (cut / "below").mkdir(exist_ok=True)
        (cut / "below/.tmp-0123-clip.mp4").write_bytes(b"half")
    assert len(list((cut / WORK).glob("*.jsonl"))) == 2
    export(data, small(form, cut, *more))
    assert contents(cut) == contents(tmp_path / "whole")
    before = {p: p.stat().st_mtime_ns for p in cut.rglob("*")}
    assert export(data, small(form, cut, *more)) == found
    assert {p: p.stat().st_mtime_ns for p in cut.rglob("*")} == before, "done is done"


DIES = """
import os, signal, sys
from pathlib import Path
from tasks.exports.hub import Hub
from tasks.exports.opening import open_dataset
from tasks.exports.running import export
from tasks.store.folder import Folder
from tests.tasks.exports.test_running import small
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
export(open_dataset(Folder(sys.argv[1])), small(Hub, Path(sys.argv[2]), dies_at=4, die=die))
"""


def test_goes_on_after_kill_9(root, data, tmp_path):
    """In the middle of a tar: no exception, no clean-up."""
    command = [sys.executable, "-c", DIES, str(root / "dataset"), str(tmp_path / "cut")]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], timeout=120).returncode == -signal.SIGKILL
    assert any(".tmp" in name for name in contents(tmp_path / "cut")), "half a tar"
    for name in ("cut", "whole"):
        export(data, small(Hub, tmp_path / name))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_refuses_what_is_not_its_own(data, tmp_path):
    dest = Folder(str(tmp_path))
    export(data, Csv(dest), "ids=2")
    for form, text, limit in ((Csv, "ids=3", None), (Csv, "ids=2", 1), (Sav, "ids=2", None)):
        with pytest.raises(UserError, match="another export"):
            export(data, form(dest), text, limit)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        export(data, Csv(Folder(str(tmp_path / "other"))))
    with pytest.raises(UserError, match="fits none of the 6 samples"):
        export(data, Csv(Folder(str(tmp_path / "none"))), "ids=99")
    assert not (tmp_path / "none").exists()


def test_a_damaged_dataset_is_told(root, items, tmp_path):
    copy = tmp_path / "dataset"
    copy.mkdir()
    for path in (root / "dataset").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="give a finished dataset"):
        open_dataset(Folder(str(tmp_path)))
    item = next(iter(items.values()))
    data = bytearray((copy / item.row.shard).read_bytes())
    at = data.index(item.files["mp4"])
    data[at + 600] ^= 1
    (copy / item.row.shard).write_bytes(data)
    with pytest.raises(DatasetError, match="mp4 is not the clip"):
        export(open_dataset(Folder(str(copy))), Sav(Folder(str(tmp_path / "sav"))))
    (copy / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="not the one"):
        open_dataset(Folder(str(copy)))


def test_csv_and_buckets(data, items):
    dest = Folder("memory://exports/csv")
    found = export(data, Csv(dest), "split=train,val", limit=4)
    assert found["clips"] == 4 and json.loads(dest.read(EXPORT_FILE))["limit"] == 4
    assert [n for n in dest.names() if n != WORK] == ["clips.csv", "export.json", "instances.csv", "interactions.csv"]
    tables = {
        name: list(csv.DictReader(dest.read(f"{name}.csv").decode().splitlines()))
        for name in ("clips", "interactions", "instances")
    }
    for clip in tables["clips"]:
        sample = items[clip["key"]].sample
        assert clip["caption"] == sample.caption and clip["license"] == (sample.provenance.license or "")
        acts = [row for row in tables["interactions"] if row["key"] == clip["key"]]
        assert [(a["subject"], a["verb"], a["object"], int(a["contact"])) for a in acts] == [
            (a.subject, a.verb, a.object, a.rating.contact) for a in sample.interactions
        ]
        ones = [row for row in tables["instances"] if row["key"] == clip["key"]]
        assert [(o["id"], float(o["anchor_x1"])) for o in ones] == [(a.id, a.box.x1) for a in sample.anchors]


@pytest.mark.parametrize("form", [Coco, Csv, Hub, partial(Labels, ingest=IngestSettings()), Matrix, Sav])
def test_a_block_of_which_nothing_is_left(root, tmp_path, form):
    folder = Folder(str(shutil.copytree(root / "dataset", tmp_path / "dataset")))
    *kept, last = [row.key for row in open_dataset(folder).chosen(lambda row: True, None)]
    write_labels(folder, {last: {"id1": "drop"}})
    whole, none = (form(Folder(str(tmp_path / name))) for name in ("whole", "none"))
    whole.block = len(kept)  # the last one dropped is a block by itself
    found = export(open_dataset(folder), whole)
    assert (found["clips"], found["left_out"]) == (len(kept), {"dropped_in_review": 1})
    before = contents(tmp_path / "whole")
    assert export(open_dataset(folder), none, f"key={last}")["clips"] == 0
    assert not any(last in name or last.encode() in data for name, data in before.items() if name != LEFT_OUT)


FORMULAS = ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1")


def test_no_cell_is_a_formula(tmp_path):
    """What a spreadsheet would work out on opening is text; numbers below zero stay numbers."""
    write_table(Folder(str(tmp_path)), "t.csv", ("what",), [(text,) for text in (*FORMULAS, "a = b", "", -0.5, None)])
    with (tmp_path / "t.csv").open(newline="") as stream:
        found = [row[0] for row in csv.reader(stream)][1:]
    assert found == [*(f"'{text}" for text in FORMULAS), "a = b", "", "-0.5", ""]
    rows = [("a.mp4", text) for text in FORMULAS]
    write_table(Folder(str(tmp_path)), "metadata.csv", ("video", "prompt"), rows, as_it_is=True)
    assert [(one.video, one.prompt) for one in read_metadata(Folder(str(tmp_path)))] == rows, "what is read back"


def test_formulas_of_others_do_not_come_through(tmp_path):
    link = '=HYPERLINK("http://evil.example","x")'
    case = make_case(Folder(str(tmp_path / "work")), frames=3, uris=(link,), license=f"-{link}")
    make_dataset(tmp_path, [case], ShardSettings())
    data = open_dataset(Folder(str(tmp_path / "dataset")))
    export(data, Csv(Folder(str(tmp_path / "csv"))))
    export(data, Labels(Folder(str(tmp_path / "labels")), IngestSettings()))
    for name, cells in (("csv/clips.csv", {f"'{link}", f"'-{link}"}), ("labels/sources.csv", {f"'-{link}"})):
        with (tmp_path / name).open(newline="") as stream:
            found = {cell for row in csv.reader(stream) for cell in row}
        assert cells <= found and not any(cell.startswith(("=", "-")) for cell in found)


def test_people_win_over_the_shards(root, tmp_path):
    folder = Folder(str(shutil.copytree(root / "dataset", tmp_path / "dataset")))
    shards = {name: folder.read(name) for name in folder.names()}
    rows = {row.key: row for row in open_dataset(folder).chosen(lambda row: True, None)}
    big, gone = (next(key for key, row in rows.items() if row.instances == n) for n in (3, 2))
    write_labels(folder, {big: {"id1": "fix", "id2": "drop"}, gone: {"id1": "drop"}})
    data = open_dataset(folder)
    found = export(data, Sav(Folder(str(tmp_path / "sav"))))
    assert found["left_out"] == {"dropped_in_review": 1} and found["clips"] == 5
    told = json.loads(next((tmp_path / "sav").rglob(f"{big}_manual.json")).read_bytes())
    assert told["masklet_id"] == [1, 3] and told["masklet_first_appeared_frame"][0] == 1
    assert [a["object"] for a in told["interactions"]] == ["id3"]
    assert export(data, Csv(Folder(str(tmp_path / "two"))), f"ids=2 key={big}")["clips"] == 1
    tables = (tmp_path / "two" / "instances.csv").read_text()
    assert f'"{big}","id3"' in tables and f'"{big}","id2"' not in tables
    with pytest.raises(UserError, match="another export"):
        export(open_dataset(Folder(str(root / "dataset"))), Sav(Folder(str(tmp_path / "sav"))))
    assert {name: folder.read(name) for name in shards} == shards
