"""What `gc` takes: old fingerprints, parts set aside, temporary files however deep; nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.setting.rows import fill
from flows.cli.keep import collect_garbage
from flows.context import Context
from flows.opened import open_build
from flows.settings import BuildSettings
from tasks.errors import UserError


@pytest.fixture
def context(tmp_path) -> Context:
    context = open_build(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out")))
    fill(context, 3, stages=("caption",))
    return context


def test_garbage_and_only_garbage(context):
    caption, ingest = context.fingerprints["caption"], context.fingerprints["ingest"]
    garbage = [
        "caption/0123456789ab/part-1.parquet",
        f"caption/{caption}/00000/torn-part-1.parquet",
        f"caption/{caption}/00000/.tmp-1-part.parquet",
        f"clips/{ingest}/ab/.tmp-1-clip.mp4",
        "replies/caption/00000/.tmp-0123",
        "replies/caption/00000/torn-0123-live.sqlite",
        "replies/a/b/abcd.json",
    ]
    kept = [f"clips/{ingest}/ab/clip.mp4", "replies/caption/00000/live.sqlite", "replies/verify/00000/live.sqlite-wal"]
    for name in [*garbage, *kept]:
        path = Path(context.folder.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    before = set(_files(context))
    told = collect_garbage(context.settings.out, dry_run=True)
    assert set(_files(context)) == before
    assert told == collect_garbage(context.settings.out, dry_run=False)
    assert {f"work/{n}" for n in garbage[1:-1]} | {"work/caption/0123456789ab", "work/replies/a"} == set(told)
    assert before - set(_files(context)) == set(garbage)
    assert collect_garbage(context.settings.out, dry_run=False) == []


def test_nothing_is_taken_while_a_chunk_is_at_work(context):
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, context.settings.out, context.place("caption", "00000")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert held.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=r"caption/.*/00000 is at work"):
            collect_garbage(context.settings.out, dry_run=True)
    finally:
        held.communicate()
    assert collect_garbage(context.settings.out, dry_run=True) == []


HOLD = """
import sys
from tasks.store.folder import Folder
from tasks.store.lease import lease
with lease(Folder(sys.argv[1]).below("work"), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _files(context: Context) -> list[str]:
    root = context.folder.root
    return [f.removeprefix(f"{root}/") for f in context.folder.fs.find(root) if "/leases/" not in f]
