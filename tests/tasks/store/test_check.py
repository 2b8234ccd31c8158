"""`verify` of a store: every fault is one line, never raised."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas import Ingested, Reason, Row, Status
from tasks.store.check import verify_store
from tasks.store.database import Database
from tasks.store.folder import Folder
from tasks.store.rows import StageStore
from tests.builders import make_case
from tests.tasks.store.made import KEYS, accepted, held, open_store


def test_a_store(tmp_path: Path) -> None:
    work = Folder(str(tmp_path))
    store = open_store(work)
    with held(work):
        store.write([accepted(KEYS[0])])
    (name,) = store.folder.names()
    good = store.folder.read(name)
    work.write("ground/abc/00000/part-1.parquet", good)
    assert verify_store(work) == []
    flipped = bytearray(good)
    flipped[pq.ParquetFile(io.BytesIO(good)).metadata.row_group(0).column(0).total_compressed_size] ^= 1
    work.write("ground/abc/00000/part-0.parquet", bytes(flipped))
    work.write("ground/abc/00000/part-2.parquet", good[:-4])
    work.write("ground/abc/00000/torn-part-3.parquet", good[:9])
    work.write("clips/abc/.tmp-1-x.mp4", b"")
    work.write("clips/abc/x.mp4", b"")
    lines = [str(p) for p in verify_store(work)]
    assert [line.split(":")[0] for line in lines] == [
        "clips/abc/.tmp-1-x.mp4",
        "ground/abc/00000/part-0.parquet",
        "ground/abc/00000/part-2.parquet",
        "ground/abc/00000/torn-part-3.parquet",
    ]
    assert all("is damaged" in line and "the next build sets it aside" in line for line in lines[1:3])


def test_normalised_clips_that_are_gone(tmp_path: Path) -> None:
    work = Folder(str(tmp_path))
    clips = [make_case(work, seed).clip for seed in range(3)]
    made = Ingested(facts=clips[0].facts, clips=(clips[0], clips[1]))
    with held(work, "ingest/abc/00000"):
        StageStore(work, "ingest/abc/00000", Ingested).write([
            Row(key="0" * 16, status=Status.ACCEPTED, payload=made),
            Row(key="1" * 16, status=Status.REJECTED, reason=Reason.TOO_SHORT),
            Row(key="2" * 16, status=Status.ACCEPTED, payload=made.model_copy(update={"clips": (clips[2],)})),
        ])  # fmt: skip
    assert verify_store(work) == []
    work.remove(clips[1].path)
    (line,) = [str(p) for p in verify_store(work)]
    assert clips[1].path in line and line.endswith("is gone: the next build makes it again when it is needed")


@pytest.mark.parametrize("of", ["disk", "bucket"])
def test_kept_replies_that_cannot_be_read(of: str, tmp_path: Path) -> None:
    work = Folder(str(tmp_path) if of == "disk" else f"memory://{tmp_path.name}")
    kept = Database(work.below("replies/caption/00000"))
    kept.put("key", b"value")
    if of == "disk":
        assert verify_store(work) == []  # while they are written
    kept.close()
    assert verify_store(work) == []
    (name,) = work.names("replies/caption/00000")
    work.write(f"replies/caption/00000/{name}", b"noise" * 1000)
    work.write("replies/verify/00000/torn-live.sqlite", b"noise")
    damaged, aside = (str(p) for p in verify_store(work))
    assert f"replies/caption/00000/{name}: replies that are damaged (file is not a database)" in damaged
    assert "`matrix_data gc` removes" in aside


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert verify_store(Folder(str(tmp_path / "nowhere"))) == []


def test_a_name_that_is_none_of_ours_is_passed_over(tmp_path: Path) -> None:
    work = Folder(str(tmp_path))
    with held(work):
        open_store(work).write([accepted(KEYS[0])])
    (tmp_path / "dedupe" / "back\\slash").mkdir()
    for name in ("torn-part.parquet", "part-0.parquet"):
        (tmp_path / "dedupe" / "back\\slash" / name).write_bytes(b"")
    work.write("track/abc/torn-part-1.parquet", b"")
    assert [problem.file for problem in verify_store(work)] == ["track/abc/torn-part-1.parquet"]
