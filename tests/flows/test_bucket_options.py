"""A bucket that opens only with `scan.storage_options` is read with them at every stage that reads it."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from flows.batches import run_batch
from flows.chunk import Chunk
from flows.context import Context
from flows.legs import SPECS
from flows.settings import load_settings
from tasks.scan.cutting import cut_listing
from tests.builders import draw, encode_mp4
from tests.flows.building import QUICK


class Guarded(MemoryFileSystem):
    """Memory that lets nobody in who does not give the option."""

    protocol = "guarded"

    def __init__(self, *args, anon=False, **more):
        if not anon:
            raise PermissionError("anon is wanted")
        super().__init__(*args, **more)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).replace("guarded://", "memory://"))


@pytest.fixture
def bucket():
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    mp4 = encode_mp4(draw(seed=1, things=1, frames=40, height=160, width=240).frames)
    fs = fsspec.filesystem("guarded", anon=True)
    fs.pipe("/raw/a.mp4", mp4)
    fs.pipe("/raw/captions.jsonl", b'{"video": "a.mp4", "caption": "A man pushes a ball."}\n')
    return "guarded://raw"


def test_listed_hashed_matched_and_cut_with_the_same_options(bucket, tmp_path):
    sets = [*QUICK[1::2], "scan.storage_options={anon: true}"]
    settings = load_settings(
        "local", sets, source=bucket, captions=f"{bucket}/captions.jsonl", out=str(tmp_path / "out")
    )
    build = Context(settings)
    cut_listing(list(build.list_source()), build.folder.below(build.place("scan")), 9)
    with build.lease("scan", "00000"):
        scanned = Chunk(build, "00000")
        (found,) = run_batch(scanned, "scan", scanned.pending("scan"))
    with build.lease("select"):
        SPECS["select"].whole(build.at_work("select"))
    with build.lease("ingest", "00000"):
        cut = Chunk(build, "00000")
        (source,) = cut.pending("ingest")
        assert run_batch(cut, "ingest", [source]) == [source]
    assert found and build.store("ingest").links()
