"""What `gc` takes: old fingerprints, parts set aside, temporary files however deep; nothing else."""

from pathlib import Path

import pytest

from benchmarks.rows import fill
from flows import opened
from flows.cli.keep import collect_garbage
from flows.context import Context
from flows.opened import open_build
from flows.settings import BuildSettings


@pytest.fixture
def context(tmp_path, monkeypatch) -> Context:
    monkeypatch.setattr(opened, "_open", {})
    context = open_build(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out")))
    fill(context, 3, stages=("caption",))
    return context


def test_garbage_and_only_garbage(context):
    caption, ingest = context.fingerprints["caption"], context.fingerprints["ingest"]
    garbage = [
        "caption/0123456789ab/part-1.parquet",
        f"caption/{caption}/torn-part-1.parquet",
        f"caption/{caption}/.tmp-1-part.parquet",
        f"ingest/{ingest}/clips/ab/.tmp-1-clip.mp4",
        "replies/a/b/.tmp-0123",
    ]
    kept = [f"ingest/{ingest}/clips/ab/clip.mp4", "replies/a/b/abcd.json"]
    for name in [*garbage, *kept]:
        path = Path(context.folder.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    before = set(_files(context))
    told = collect_garbage(context.settings.out, dry_run=True)
    assert set(_files(context)) == before
    assert told == collect_garbage(context.settings.out, dry_run=False)
    assert {f"work/{n}" for n in garbage[1:]} | {"work/caption/0123456789ab"} == set(told)
    assert before - set(_files(context)) == set(garbage)
    assert collect_garbage(context.settings.out, dry_run=False) == []


def _files(context: Context) -> list[str]:
    root = context.folder.root
    return [f.removeprefix(f"{root}/") for f in context.folder.fs.find(root) if not f.endswith(".lock")]
