"""Looking at a build of the GPU profile on a machine that has none of its packages, weights, servers or source."""

import json
import subprocess
import sys

from benchmarks.setting.rows import fill
from flows.cli.look import begins_anew, funnel_lines
from flows.opened import BUILD_FILE, context_of, open_build
from flows.settings import load_settings
from flows.tally import Tally

WITHOUT = """
import sys
absent = "torch torchvision transformers openai httpx2 sam2 groundingdino prefect".split()
sys.modules.update(dict.fromkeys(absent))
from flows.cli import main
main()
"""


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_status_and_retry_need_nothing_of_the_engines(tmp_path):
    out = tmp_path / "out"
    settings = load_settings("gpu", [], source=str(tmp_path / "gone"), out=str(out))
    build = open_build(settings)
    fill(build, 200, stages=("caption", "propose"))
    build.pins("propose").check("detector", "weights 5f1c")
    done = run("status", out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    pending = {line["stage"]: line["pending"] for line in found["funnel"]}
    assert pending["verify"] == 200 and sum(pending.values()) == 200
    assert found["models"]["detector"].endswith(", weights 5f1c") and "SwinB" in found["models"]["detector"]
    assert found["models"]["language"].startswith("served-language/")
    plain = run("status", out)
    assert plain.returncode == 0 and "verify       200" in plain.stdout
    assert run("retry", out, "--rejected", "poison").returncode == 2, "nothing was rejected, and that is told"
    for part in (out / "work").rglob("part-*.parquet"):
        part.write_bytes(bytes(part.stat().st_size))
    quick = run("status", out, "--no-remarks", "--json")
    assert json.loads(quick.stdout) == found | {"remarks": []}, "tallies say it all: no part is opened"


def test_what_this_version_would_begin_anew_is_told(tmp_path):
    """As before a build with a version of ours that does a stage otherwise than the one on record."""
    out = str(tmp_path / "out")
    build = open_build(load_settings("local", [], source=str(tmp_path / "gone"), out=out))
    assert begins_anew(context_of(out)) == []
    saved = json.loads(build.folder.read(BUILD_FILE))
    stages = list(saved["fingerprints"])
    changed = stages[stages.index("verify") :]
    saved["fingerprints"] |= dict.fromkeys(changed, "0123456789ab")
    build.folder.write(BUILD_FILE, json.dumps(saved).encode())
    (line,) = begins_anew(context_of(out))
    assert line.startswith("verify: ") and "anew" in line


def test_columns_never_run_together():
    line = Tally(stage="review", arrived=123_456, accepted=123_456, rejected={}, pending=0, seconds=0.1)
    assert funnel_lines([line])[1].split() == ["review", "123456", "123456", "0", "0", "0.10", "1234560"]
