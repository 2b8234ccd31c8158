"""What `gc` takes: old fingerprints, parts set aside, temporary files however deep; nothing else."""

from pathlib import Path

import pytest

from benchmarks.rows import fill
from flows import context as plans
from flows.cli.upkeep import collect_garbage
from flows.context import Plan, open_plan
from flows.settings import BuildSettings


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Plan:
    monkeypatch.setattr(plans, "_plans", {})
    plan = open_plan(BuildSettings(source=str(tmp_path), out=str(tmp_path / "out")))
    fill(plan, 3, stages=("caption",))
    return plan


def test_garbage_and_only_garbage(plan):
    caption, ingest = plan.fingerprints["caption"], plan.fingerprints["ingest"]
    garbage = [
        "caption/0123456789ab/part-1.parquet",
        f"caption/{caption}/torn-part-1.parquet",
        f"caption/{caption}/.tmp-1-part.parquet",
        f"ingest/{ingest}/clips/ab/.tmp-1-clip.mp4",
        "replies/a/b/.tmp-0123",
    ]
    kept = [f"ingest/{ingest}/clips/ab/clip.mp4", "replies/a/b/abcd.json"]
    for name in [*garbage, *kept]:
        path = Path(plan.work.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    before = set(_files(plan))
    told = collect_garbage(plan.settings.out, dry_run=True)
    assert set(_files(plan)) == before
    assert told == collect_garbage(plan.settings.out, dry_run=False)
    assert {f"work/{n}" for n in garbage[1:]} | {"work/caption/0123456789ab"} == set(told)
    assert before - set(_files(plan)) == set(garbage)
    assert collect_garbage(plan.settings.out, dry_run=False) == []


def _files(plan: Plan) -> list[str]:
    return [f.removeprefix(f"{plan.work.root}/") for f in plan.work.fs.find(plan.work.root) if not f.endswith(".lock")]
