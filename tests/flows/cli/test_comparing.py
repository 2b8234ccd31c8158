"""`matrix_data compare` over two builds on record: every number is that of the changes that were made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.setting.rows import CHAIN, put
from flows.cli import app
from flows.legs import SPECS
from flows.opened import open_build
from flows.settings import BuildSettings
from schemas import Captioned, Deduped, Ingested, Reason, Row, SourceFile, Status, Tracked
from schemas.dataset import IndexRow, Sharded, ShardInfo
from tasks.errors import UserError
from tasks.outcome import Case
from tasks.scan.cutting import LISTED, encode
from tasks.scan.listing import Found
from tasks.shard.entry import build_entry
from tests.builders import FINGERPRINTS, make_case

STAGES = {name: kind for name in CHAIN if (kind := SPECS[name].record)}
"""What a clip goes through between `dedupe` and `shard`."""


def on_record(context: Any, cases: Sequence[Case], rejected: Sequence[str] = ()) -> None:
    """The cases at all stages up to curate, where those of `rejected` end."""
    found = [Found(c.clip.source.uris[0], c.clip.source.uris[0], 9, "1") for c in cases]
    context.folder.write(f"{context.place('scan', '00000')}/{LISTED}", encode(found))
    rows: dict[str, list[Row[Any]]] = {name: [] for name in ("scan", "select", "ingest", "dedupe", *STAGES, "shard")}

    def accept(stage: str, key: str, payload: Any) -> None:
        rows[stage].append(Row(key=key, status=Status.ACCEPTED, seconds=0.5, payload=payload))

    for file, case in zip(found, cases, strict=True):
        source, clip = case.clip.source, case.clip
        accept(
            "scan", file.key, SourceFile(uri=file.uri, name=file.name, size_bytes=9, version="1", digest=source.digest)
        )
        accept("select", file.key, source)
        accept("ingest", source.source_id, Ingested(facts=clip.facts, clips=(clip,)))
        accept("dedupe", clip.clip_id, case.of(Deduped))
        for stage, kind in STAGES.items():
            if stage == "curate" and clip.clip_id in rejected:
                rows[stage].append(Row(key=clip.clip_id, status=Status.REJECTED, reason=Reason.BAD_TRACKS))
            else:
                accept(stage, clip.clip_id, case.of(kind))
        if clip.clip_id not in rejected:
            name = f"train-00000-{'0' * 16}.tar"
            info = ShardInfo(name=name, split="train", samples=1, bytes=1, sha256="0" * 64)
            row = IndexRow.of(build_entry(case, FINGERPRINTS).sample, name, "train", 0, 1)
            accept("shard", clip.clip_id, Sharded(row=row, shard=info))
    for stage, some in rows.items():
        put(context, stage, some)
    survey = context.survey()
    for stage in rows:
        survey.settle(stage, "00000")
    for stage in ("select", "dedupe"):
        survey.settle(stage)


@pytest.fixture(scope="module")
def builds(tmp_path_factory) -> tuple[Path, Path]:
    """Four clips on both sides, one only left. Right: one rejected, one with another verb, one with a poorer track."""
    root = tmp_path_factory.mktemp("compare")
    left = open_build(BuildSettings(source=str(root), out=str(root / "left")))
    right = open_build(BuildSettings(source=str(root), out=str(root / "right"), curate={"max_leap": 9}))
    cases = [
        make_case(left.folder, seed, frames=5, height=64, width=96, note="<script>alert(1)</script>")
        for seed in range(5)
    ]
    on_record(left, cases)
    others = cases[:4]
    act = others[1].of(Captioned).interactions[0].model_copy(update={"verb": "drops"})
    others[1] = others[1].plus(others[1].of(Captioned).model_copy(update={"interactions": (act,)}))
    tracked = others[2].of(Tracked)
    masks = (tracked.tracks[1].masks[0], *[None] * 4)
    tracks = (tracked.tracks[0], tracked.tracks[1].model_copy(update={"masks": masks}))
    others[2] = others[2].plus(tracked.model_copy(update={"tracks": tracks}))
    on_record(right, others, rejected=[others[3].clip.clip_id])
    return root / "left", root / "right"


def run(*words: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    if done.exception:
        raise done.exception
    return json.loads(done.stdout.splitlines()[-1])


def test_two_builds(builds, tmp_path):
    found = run("compare", *builds, "--out", tmp_path / "c")
    assert (found["clips"], found["only_left"], found["only_right"]) == (4, 1, 0)
    assert {(e["left"], e["right"]): e["clips"] for e in found["ends"]} == {
        ("accepted", "accepted"): 3, ("accepted", "curate: bad_tracks"): 1,
    }  # fmt: skip
    assert found["changed"] == [["curate.max_leap", "2.5", "9.0"]]
    assert found["accepted"] == {"both": 3, "left": 4, "right": 3}
    assert {key: found["triplets"][key] for key in ("both", "left", "right")} == {"both": 3, "left": 1, "right": 1}
    assert found["triplets"]["most_right"][0]["triplet"][1] == "drops"
    assert found["ratings"]["contact"] == {"mean": 0.0, "counts": {"0": 3}}
    assert found["tracks"]["both"] == 8 and found["tracks"]["far"] == 1 and found["tracks"]["j_and_f"] < 1
    assert found["anchors"] == {"same_frame": 8, "other_frame": 0, "iou": 1.0}
    assert len(found["most"]) == 3, "one clip is the same on both sides"
    caption = next(row for row in found["cost"] if row["stage"] == "caption")
    assert (caption["left"]["seconds"], caption["right"]["seconds"]) == (2.5, 2.0)
    page = (tmp_path / "c/compare.html").read_text()
    assert (
        page.count("<img") == 3 * 8
        and "<script" not in page
        and "&lt;script&gt;" in page
        and "http" not in page.replace("http-equiv", "")
    )
    stored = json.loads((tmp_path / "c/compare.json").read_text())
    assert stored == {key: value for key, value in found.items() if key != "page"}


def test_a_build_with_itself(builds, tmp_path):
    found = run("compare", builds[0], builds[0], "--out", tmp_path / "c", "--show", 3)
    assert found["most"] == [] and found["changed"] == [] and found["tracks"]["j_and_f"] == 1


def test_builds_of_other_videos(builds, tmp_path):
    other = open_build(BuildSettings(source=str(tmp_path), out=str(tmp_path / "other")))
    on_record(other, [make_case(other.folder, 77, frames=5, height=64, width=96)])
    with pytest.raises(UserError, match="no clip in common"):
        run("compare", builds[0], tmp_path / "other", "--out", tmp_path / "c")
    with pytest.raises(UserError, match="no build in"):
        run("compare", builds[0], tmp_path / "none", "--out", tmp_path / "c")
