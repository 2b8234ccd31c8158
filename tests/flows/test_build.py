"""The whole build over a rendered bucket, through the command line: accounts, determinism, growth, faults."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.legs import RECORDED
from flows.opened import context_of
from schemas import Curated, Verified
from tasks.world import render_bucket
from tests.flows.building import QUICK, dataset_files, sidecar

pytestmark = pytest.mark.slow


def arguments(world, out, *more):
    return ("build", world / "raw", "--captions", sidecar(world), "--out", out, *QUICK, *more, "--json")


def parts(out):
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.glob("work/*/*/*/part-*.parquet")}


@pytest.fixture
def copy(built, tmp_path):
    """A copy of the built folder. Its `build.json` still names the other one, as that of any folder that was moved."""
    out = tmp_path / "out"
    shutil.copytree(built, out)
    return out


def test_every_file_is_accounted_for_with_the_reason_the_world_expects(matrix_data, built, world):
    found = matrix_data("status", built, "--json").json
    assert [line["stage"] for line in found["funnel"]] == list(RECORDED)
    for line in found["funnel"]:
        assert line["in"] == line["accepted"] + sum(line["rejected"].values()) + line["pending"]
        assert line["pending"] == 0
        assert line["seconds"] >= 0 and line["per_second"] > 0, "work is on record at every stage"
    assert found["poison"] == {}
    score = matrix_data("score", built, "--truth", world, "--json").json
    assert score["mismatches"] == []
    assert score["reasons_right"] == 1.0
    assert score["files_checked"] >= 20


def test_score_finds_the_captions_right_and_something_accepted(matrix_data, built, world):
    score = matrix_data("score", built, "--truth", world, "--json").json
    assert score["triplet_f1"] >= 0.95
    assert score["accepted_share"] > 0
    assert 0 < score["mean_jf"] <= 1


def test_verify_finds_nothing(matrix_data, built):
    ended = matrix_data("verify", built, "--json")
    assert (ended.code, ended.json) == (0, {"ok": True, "problems": []})


def test_show_tells_everything_and_draws_a_sheet(matrix_data, copy):
    clip = context_of(str(copy)).store("curate").accepted()[0]
    ended = matrix_data("show", copy, clip[:10], "--json")
    assert ended.code == 0, ended.errors
    assert set(ended.json["stages"]) == {"dedupe", "caption", "propose", "verify", "track", "curate", "review", "shard"}
    assert (copy / "show" / f"{clip}.png").read_bytes().startswith(b"\x89PNG")
    text = matrix_data("show", copy, clip).out
    assert "contact" in text and clip in text
    # Where each ID was found, what the verifier said of it, and the numbers of its track.
    case = context_of(str(copy)).find(clip).reached(clip)
    for anchor in case.of(Verified).anchors:
        assert f"{anchor.id}: anchor at frame {anchor.frame}" in text
    verdicts = case.of(Verified).verdicts
    assert f"{len(verdicts)} lines more with --all" in text and not any(v.rationale in text for v in verdicts)
    assert all(", ".join(n.words()) in text for n in case.of(Curated).numbers)
    text = matrix_data("show", copy, clip, "--all").out
    assert all(v.rationale in text for v in verdicts) and verdicts
    name = case.clip.source.uris[0].rpartition("/")[2]
    assert matrix_data("show", copy, name, "--json").json["clip"]["clip_id"] == clip


def test_show_tells_what_a_video_came_to_and_all_that_a_reason_ended(matrix_data, copy, world):
    funnel = {line["stage"]: line for line in matrix_data("status", copy, "--json").json["funnel"]}
    for line in funnel.values():
        for reason, count in line["rejected"].items():
            ended = matrix_data("show", copy, "--reason", reason, "--json").json["ended"]
            assert sum(one["stage"] == line["stage"] for one in ended) == count
            assert all(one["file"] in ("", *os.listdir(world / "raw")) for one in ended)
    twin = matrix_data("show", copy, "extra_twin_b.mp4")
    assert twin.out.splitlines()[0] == "extra_twin_b.mp4: 0 clips"
    assert "rejected at select: duplicate  same content as extra_twin_a.mp4" in twin.out
    sound = matrix_data("show", copy, "extra_audio.mp4", "--json").json["ends"]
    assert [(one["unit"], one["ended"]) for one in sound] == [("videos", "rejected at ingest: no_video_stream")]
    for words, says in (
        ((), "give a clip"),
        (("--reason", "sadness"), "no reason code"),
        (("nobody.mp4",), "no clip and no file"),
    ):
        ended = matrix_data("show", copy, *words)
        assert ended.code == 2 and says in ended.errors and len(ended.errors.splitlines()) == 1


def test_one_stage_on_one_clip_runs_as_contributing_says(copy):
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (recipe,) = [code for code in re.findall(r'python -c "\n(.*?)"', text, flags=re.DOTALL) if "context_of" in code]
    before = parts(copy)
    done = subprocess.run(
        [sys.executable, "-c", recipe], cwd=copy.parent, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout and "candidates" in done.stdout
    assert parts(copy) == before


def test_a_second_build_does_nothing(matrix_data, copy, world):
    before, shards = parts(copy), dataset_files(copy)
    ended = matrix_data(*arguments(world, copy))
    assert ended.code == 0, ended.errors
    assert parts(copy) == before
    assert dataset_files(copy) == shards


def test_other_workers_batches_and_hash_seed_give_the_same_bytes(matrix_data, built, world, tmp_path):
    more = ("--set", "run.workers=1", "--set", "run.batch=3", "--set", "run.sources_batch=5")
    ended = matrix_data(*arguments(world, tmp_path / "out", *more), PYTHONHASHSEED="7")
    assert ended.code == 0, ended.errors
    assert dataset_files(tmp_path / "out") == dataset_files(built)


def test_a_grown_bucket_adds_shards_and_touches_none(matrix_data, copy, world, tmp_path):
    grown = tmp_path / "grown"
    shutil.copytree(world, grown, copy_function=shutil.copy2)
    render_bucket(tmp_path / "new", videos=2, seed=700, level="plain", broken=False)
    for video in sorted((tmp_path / "new" / "raw").iterdir()):
        shutil.copy2(video, grown / "raw" / f"new_{video.name}")
    header, *rows = sidecar(tmp_path / "new").read_text().splitlines()
    with sidecar(grown).open("a") as table:
        table.write("\n".join(f"new_{row}" for row in rows) + "\n")
    assert header == sidecar(world).read_bytes().splitlines()[0].decode()

    # The same files at another place are new files of known content: they must cost no decode and no clip.
    old, shards = parts(copy), dataset_files(copy)
    ended = matrix_data(*arguments(grown, copy))
    assert ended.code == 0, ended.errors
    fresh = {name for name in parts(copy) if name not in old}
    # Select decides anew what a caption table decides, since the table has changed.
    kept = {n for n in old if "/select/" not in n}
    assert kept <= set(parts(copy)), "no part on record may go"
    build = context_of(str(copy))
    assert len([n for n in fresh if "/ingest/" in n]) <= 2
    now = dataset_files(copy)
    for name, data in shards.items():
        if name.endswith(".tar"):
            assert now[name] == data
    added = len(build.store("curate").accepted()) - sum(
        json.loads(d)["counts"]["samples"] for n, d in shards.items() if n.endswith("dataset.json")
    )
    assert added >= 1
    assert matrix_data("verify", copy, "--json").json["ok"]


def test_changed_content_under_an_old_name_is_a_new_source(matrix_data, copy, world, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(world, changed, copy_function=shutil.copy2)
    names = sorted(p.name for p in (changed / "raw").glob("clip_*"))
    before = context_of(str(copy)).store("ingest").accepted()
    ended = matrix_data(*arguments(changed, copy))
    shutil.copyfile(changed / "raw" / "extra_ten_bit.mp4", changed / "raw" / names[0])
    (changed / "raw" / "extra_ten_bit.mp4").unlink()
    render_bucket(tmp_path / "other", videos=1, seed=900, level="plain", broken=False)
    (other,) = (tmp_path / "other" / "raw").iterdir()
    shutil.copyfile(other, changed / "raw" / names[1])
    ended = matrix_data(*arguments(changed, copy))
    assert ended.code == 0, ended.errors
    from flows.context import Context

    after = Context(context_of(str(copy)).settings).store("ingest").accepted()
    assert set(before) < set(after), "what was on record stays, and the new content is one more source"
    assert len(after) == len(before) + 1


def test_a_part_cut_in_half_is_done_again_to_the_same_rows(matrix_data, copy, world):
    shards = dataset_files(copy)
    part = sorted(copy.glob("work/verify/*/*/part-*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-200])
    found = matrix_data("verify", copy, "--json")
    assert found.code == 4 and any(part.name in p for p in found.json["problems"])
    ended = matrix_data(*arguments(world, copy))
    assert ended.code == 0, ended.errors
    assert dataset_files(copy) == shards
    assert sum(t["pending"] for t in ended.json["funnel"].values()) == 0
    removed = matrix_data("gc", copy, "--json").json["removed"]
    assert any("torn-" in name for name in removed)
    assert matrix_data("verify", copy, "--json").json["ok"]


def test_a_lost_clip_is_left_out_and_made_again_by_the_next_build(matrix_data, copy, world):
    for old in copy.glob("dataset/*"):
        shutil.rmtree(old)
    accepted = context_of(str(copy)).store("curate").accepted()
    (mp4,) = copy.glob(f"work/clips/*/*/{accepted[0]}.mp4")
    content = mp4.read_bytes()
    mp4.unlink()
    ended = matrix_data(*arguments(world, copy))
    pending = {stage: line["pending"] for stage, line in ended.json["funnel"].items() if line["pending"]}
    assert pending == {"ingest": 1, "shard": 1}, "the video is cut again, and its clip waits for that"
    assert ended.code == 3 and ended.json["dataset"], ended.errors
    ended = matrix_data(*arguments(world, copy))
    assert (ended.code, ended.json["pending"]) == (0, 0), ended.errors
    assert mp4.read_bytes() == content
    assert matrix_data("verify", copy, "--json").json["ok"]
    (account,) = copy.glob("dataset/*/dataset.json")
    assert json.loads(account.read_text())["counts"]["samples"] == len(accepted)


@pytest.mark.parametrize("name", ["dataset.json", "index.parquet"])
def test_what_stands_over_the_shards_is_written_again_where_it_is_spoilt(matrix_data, copy, world, name):
    (path,) = copy.glob(f"dataset/*/{name}")
    before = dataset_files(copy)
    path.write_bytes(path.read_bytes()[:-100]) if name == "dataset.json" else path.unlink()
    assert matrix_data("verify", copy).code == 4
    ended = matrix_data(*arguments(world, copy))
    assert ended.code == 0, ended.errors
    assert dataset_files(copy) == before


def test_two_builds_on_one_folder(matrix_data, copy, world):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from tasks.store.lease import alone\n"
            "with alone(sys.argv[1]): print('held', flush=True); sys.stdin.read()",
            str(copy),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        ended = matrix_data(*arguments(world, copy))
        assert ended.code == 2 and "another build is at work" in ended.errors
    finally:
        holder.communicate()
    assert matrix_data(*arguments(world, copy)).code == 0


def test_retry_makes_rejects_pending_and_the_next_build_decides_again(matrix_data, copy, world):
    gone = matrix_data("retry", copy, "--rejected", "no_interaction", "--json").json["forgotten"]
    assert gone["caption"] >= 1
    pending = {t["stage"]: t["pending"] for t in matrix_data("status", copy, "--json").json["funnel"]}
    assert pending["caption"] == gone["caption"]
    ended = matrix_data(*arguments(world, copy))
    assert ended.json["funnel"]["caption"]["rejected"]["no_interaction"] == gone["caption"]


def test_another_setting_does_its_stage_and_all_after_it_anew_and_nothing_before(matrix_data, copy, world):
    before = parts(copy)
    ended = matrix_data(*arguments(world, copy, "--set", "curate.max_ids=2"))
    assert ended.code == 0, ended.errors
    fresh = {name.split("/")[1] for name in parts(copy) if name not in before}
    assert fresh == {"curate", "review", "shard"}
    old = {name for name in before if "/curate/" in name}
    gone = matrix_data("gc", copy, "--json").json["removed"]
    assert sorted(name.split("/")[1] for name in gone) == ["curate", "review", "shard"]
    assert not [n for n in parts(copy) if n in old]
